# SPDX-License-Identifier: Apache-2.0
"""ECG-JEPA and ST-MEM from files in their released layouts, against what the authors' networks compute."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from intermediate import TOLERANCE, assert_equal_arrays, expected, recorded, relative_error, signal
from torch import nn
from transformers import AutoFeatureExtractor, AutoModel, AutoModelForAudioClassification

from cgdmer.conversion.converting import convert
from cgdmer.inference.embeddings import embed_records
from cgdmer.models.leads import STANDARD_LEADS
from cgdmer.simulation.cohort import simulate_record
from released import write_released

KINDS = {"ecg-jepa": "ecg-jepa", "st-mem": "st-mem-encoder", "st-mem-full": "st-mem-full"}
ST_MEM = [kind for kind in KINDS if kind != "ecg-jepa"]


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """The folder of a kind, converted at most once."""
    found = {}

    def of(kind):
        if kind not in found:
            home = tmp_path_factory.mktemp(kind)
            file = write_released(KINDS[kind], home / "released.pth")
            convert(kind, file, home / "model")
            file.unlink()
            found[kind] = home / "model"
        return found[kind]

    return of


def twelve_leads(config, values):
    """The rows of the network's own leads among the twelve; the others are never read."""
    whole = torch.full((len(values), 12, values.shape[-1]), 9.0)
    whole[:, [STANDARD_LEADS.index(lead) for lead in config.leads]] = values
    return whole


def loaded(folder, kind):
    model = AutoModel.from_pretrained(folder).eval()
    want, spec = expected(KINDS[kind])
    return model, twelve_leads(model.config, signal(spec["input_shape"], spec["rate"])), want, spec["rows"]


@torch.no_grad()
def test_ecg_jepa_computes_what_the_authors_network_does(converted):
    model, values, want, rows = loaded(converted("ecg-jepa"), "ecg-jepa")
    found = {}
    recorded(model.projection, found, "patch_rows")
    recorded(model.layers[0], found, "block0_rows")
    outputs = model(values)
    found["sequence_rows"] = outputs.last_hidden_state
    found = {name: array[:, rows[name]] for name, array in found.items()} | {"pooled": outputs.pooler_output}
    lead_mask = torch.zeros(2, 12, dtype=torch.int64)
    lead_mask[:, :2] = 1
    found["pooled_two_leads"] = model(values, lead_mask=lead_mask).pooler_output
    assert found.keys() == want.keys()
    assert_equal_arrays(found, want)
    model.set_attn_implementation("eager")
    assert_equal_arrays({"pooled": model(values).pooler_output}, want)


@torch.no_grad()
@pytest.mark.parametrize("kind", ST_MEM)
def test_st_mem_computes_what_the_authors_network_does(converted, kind):
    model, values, want, rows = loaded(converted(kind), kind)
    found = {}
    recorded(model.layers[0], found, "block0_input_rows", entering=True)
    recorded(model.layers[0], found, "block0_rows")
    recorded(model.layers[-1], found, "sequence_rows")
    patches = []
    model.token_norm.register_forward_hook(lambda _, inputs, output: patches.append(output.flatten(1, 2)))
    outputs = model(values)
    found = {name: array[:, rows[name]] for name, array in found.items()} | {"pooled": outputs.pooler_output}
    found["patch_rows"] = patches[0][:, [0, 1, 29, 30, 359]]
    assert found.keys() == want.keys() - {"reconstruction_rows"}  # of the decoder
    assert_equal_arrays(found, want)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["ecg-jepa", "st-mem"])
def test_what_is_absent_does_not_matter(converted, kind):
    model, values, _, _ = loaded(converted(kind), kind)
    patches = model.config.num_patches
    lead_mask, patch_mask = torch.ones(2, 12, dtype=torch.int64), torch.ones(2, patches, dtype=torch.int64)
    torch.testing.assert_close(model(values, lead_mask=lead_mask, patch_mask=patch_mask)[1], model(values)[1])
    lead_mask[0, 2:], patch_mask[1, 5:] = 0, 0
    masks = {"lead_mask": lead_mask, "patch_mask": patch_mask}
    outputs = model(values, **masks)
    assert outputs.visible_mask.sum(dim=1).tolist() == [2 * patches, 5 * len(model.config.leads)]
    changed = values.clone()
    changed[0, 2:] += 5.0
    changed[1, :, 5 * model.config.patch_length :] = 7.0
    torch.testing.assert_close(model(changed, **masks).pooler_output, outputs.pooler_output, rtol=0, atol=0)
    assert (model(values).pooler_output - outputs.pooler_output).abs().amax(dim=1).min() > 0.1


@torch.no_grad()
@pytest.mark.parametrize("kind", ["ecg-jepa", "st-mem"])
def test_a_small_wrong_detail_is_seen(converted, kind):
    model, values, want, _ = loaded(converted(kind), kind)
    for part in model.modules():
        if isinstance(part, nn.LayerNorm):
            part.eps = 1e-6
    assert relative_error(model(values).pooler_output, want["pooled"]) > TOLERANCE


@pytest.mark.parametrize("kind", ["ecg-jepa", "st-mem"])
def test_the_folder_has_a_feature_extractor_and_serves_a_classifier(converted, kind):
    folder = converted(kind)
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    model = AutoModelForAudioClassification.from_pretrained(folder, num_labels=3)
    ecg = signal((12, 5000), 500).numpy()
    with torch.no_grad():
        inputs = extractor(ecg, sampling_rate=500, lead_names=STANDARD_LEADS, unit="mV", return_tensors="pt")
        assert model(**inputs).logits.shape == (1, 3)
    assert "csn" in (folder / "README.md").read_text()


@torch.no_grad()
@pytest.mark.parametrize("kind", ["ecg-jepa", "st-mem"])
def test_features_of_each_lead(converted, kind):
    """The mean of its tokens, and nothing for a lead that the network or the record lacks."""
    folder = converted(kind)
    model, extractor = AutoModel.from_pretrained(folder).eval(), AutoFeatureExtractor.from_pretrained(folder)
    leads, patches = list(model.config.leads), model.config.num_patches
    record = simulate_record(["sinus_rhythm"], seed=1, sampling_rate=250)
    present = [lead for lead in STANDARD_LEADS if lead not in ("V2", "V5")]
    signal_LT = record.signal[[record.lead_names.index(lead) for lead in present]]
    fewer = replace(record, signal=signal_LT, lead_names=tuple(present))
    found = embed_records(model, extractor, [fewer], further=["per_lead"]).per_lead[0]
    inputs = extractor(fewer, windows=True, return_tensors="pt")
    weights = inputs.pop("window_weights")
    tokens = model(**{name: inputs[name] for name in extractor.model_input_names}).last_hidden_state
    means = (weights[:, None, None, None] * tokens.unflatten(1, (len(leads), patches))).sum(dim=0).mean(dim=1)
    for row, lead in enumerate(STANDARD_LEADS):
        if lead in leads and lead in present:
            torch.testing.assert_close(torch.from_numpy(found[row]), means[leads.index(lead)], rtol=0, atol=1e-4)
        else:
            assert np.isnan(found[row]).all()
