# SPDX-License-Identifier: Apache-2.0
"""What saves time in a batch changes no result: repeated texts, and complete records."""

import pytest
import torch
from tiny import NUM_LEADS, NUM_PATCHES, only_losses, spread, tiny_batch, tiny_config
from torch.utils._python_dispatch import TorchDispatchMode

from cgdmer import CGDMERForPreTraining

STRATEGIES = ("uniform", "time", "lead", "dual")


def build(**overrides) -> CGDMERForPreTraining:
    torch.manual_seed(0)
    return spread(CGDMERForPreTraining(tiny_config(**overrides)).double())


def batch_of(records: int) -> dict[str, torch.Tensor]:
    return {name: rows.double() if rows.is_floating_point() else rows for name, rows in tiny_batch(records).items()}


def gradients(model: CGDMERForPreTraining, batch: dict) -> dict[str, torch.Tensor]:
    model.zero_grad()
    outputs = model(**batch)
    outputs.loss.backward()
    found = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    return {"loss": outputs.loss.detach(), "text_embeds": outputs.text_embeds, **found}


@pytest.mark.parametrize(
    ("overrides", "rows_encoded"),
    [
        # the corrupted texts of all six records, and the whole ones of three
        pytest.param({"contrast_view": "masked_ecg"}, [3, 6], id="masked ECG"),
        pytest.param({"contrast_view": "full", **only_losses("siglip")}, [3], id="nothing masked"),
        pytest.param({"contrast_view": "masked"}, [6], id="masked in several ways"),
    ],
)
def test_a_repeated_text_is_encoded_once(overrides, rows_encoded):
    model, batch = build(**overrides), batch_of(6)
    rows = torch.tensor([0, 1, 0, 2, 1, 0])
    for name in ("input_ids", "attention_mask", "special_tokens_mask"):
        batch[name] = batch[name][rows]
    plain = gradients(model, batch)
    encoded = []
    model.text_model.register_forward_pre_hook(
        lambda module, args, kwargs: encoded.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    shared = gradients(model, {**batch, "distinct_texts": torch.tensor([0, 1, 3]), "text_index": rows})
    assert encoded == rows_encoded
    assert shared.keys() == plain.keys()
    for name in plain:
        torch.testing.assert_close(shared[name], plain[name], rtol=1e-9, atol=1e-9, msg=name)


@pytest.mark.parametrize("contrast_view", ["masked", "full"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_complete_records_need_no_masks(strategy, contrast_view):
    model = build(contrast_view=contrast_view, ecg_config={"mask_strategy": strategy, "lead_mask_ratio": 0.3})
    batch = batch_of(3)
    masks = {
        "lead_mask": torch.ones(3, NUM_LEADS, dtype=torch.int64),
        "patch_mask": torch.ones(3, NUM_PATCHES, dtype=torch.int64),
    }
    without, told = gradients(model, batch), gradients(model, {**batch, **masks})
    for name in told:
        torch.testing.assert_close(without[name], told[name], rtol=1e-9, atol=1e-9, msg=name)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_complete_records_never_wait_for_the_device(strategy):
    """A value that goes back to Python would stall a GPU's queue in the middle of a step."""

    class Waits(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.count += function is torch.ops.aten._local_scalar_dense.default
            return function(*args, **(kwargs or {}))

    losses = only_losses("ecg_reconstruction")
    model = build(**losses, ecg_config={"mask_strategy": strategy, "lead_mask_ratio": 0.3}).train()
    batch = {name: batch_of(3)[name] for name in ("ecg_values", "noise")}
    with Waits() as waits:
        model(**batch).loss.backward()
    assert waits.count == 0
    with Waits() as waits:
        model(**batch, lead_mask=torch.ones(3, NUM_LEADS)).loss.backward()
    assert waits.count > 0
