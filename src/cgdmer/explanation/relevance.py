# SPDX-License-Identifier: Apache-2.0
"""How much each lead and patch of an ECG contributes to the score of one prompt: gradients, and occlusion as a check.

Shapes: B batch, L leads, T samples, N patches a lead, E width of the shared embedding.
"""

from collections.abc import Sequence

import torch

from cgdmer.models.modeling_ecg_text import ECGTextModel
from cgdmer.models.modeling_lead_time_encoder import LeadTimeEncoder

# On the way from a flat line to the recording: so many steps at first, twice as many as long as relevance and the
# change of the logit differ by more than this, and no more than so many.
NUM_STEPS, MOST_STEPS = 16, 128
LARGEST_REST = 0.1
OCCLUDED_SECONDS = 0.4
_OCCLUSIONS_AT_ONCE = 20

Inputs = dict[str, torch.Tensor]


def prompt_logits(model: ECGTextModel, inputs: Inputs, text_embed_E: torch.Tensor) -> torch.Tensor:
    """(B,) what the sigmoid makes a score of, for one prompt.

    Args:
        model: with both towers.
        inputs: what its `get_ecg_features` takes: `ecg_values` (B, L, T), `lead_mask` (B, L), `patch_mask` (B, N).
        text_embed_E: the prompt's unit vector.
    """
    embeds_BE = model.get_ecg_features(**inputs, return_dict=True).pooler_output
    return model.score_logits(embeds_BE @ text_embed_E.to(embeds_BE.dtype))


def integrated_gradients(
    model: ECGTextModel, inputs: Inputs, text_embed_E: torch.Tensor
) -> tuple[torch.Tensor, float]:
    """(L, N) relevance that adds up to the recording's logit minus that of a flat line, and what is missing from it.

    Integrated gradients (Sundararajan et al., ICML 2017, arXiv 1703.01365) in the middles of equal steps, as many as
    it takes (`LARGEST_REST`) up to `MOST_STEPS`.

    Args:
        model, inputs, text_embed_E: as in `gradient_relevance`.
    """
    with torch.no_grad():
        flat = {**inputs, "ecg_values": torch.zeros_like(inputs["ecg_values"])}
        change = float(prompt_logits(model, inputs, text_embed_E) - prompt_logits(model, flat, text_embed_E))
    steps = NUM_STEPS
    while True:
        path = [(step + 0.5) / steps for step in range(steps)]
        relevance_LN = gradient_relevance(model, inputs, text_embed_E, path)
        rest = change - float(relevance_LN.sum())
        if abs(rest) <= LARGEST_REST or steps >= MOST_STEPS:
            return relevance_LN, rest
        steps *= 2


def gradient_relevance(
    model: ECGTextModel, inputs: Inputs, text_embed_E: torch.Tensor, path: Sequence[float]
) -> torch.Tensor:
    """(L, N) gradient of the logit times the signal, summed over each patch and averaged along a path.

    The path leads from a flat line (0.0) to the recording (1.0). At its end alone, `path=(1.0,)`, this is gradient
    times input. A lead or patch that is absent gets exactly 0.

    Args:
        model, text_embed_E: as in `prompt_logits`.
        inputs: the same of one recording, B = 1.
        path: where on it gradients are taken.
    """
    values_LT = inputs["ecg_values"][0].detach()
    total_LT = torch.zeros_like(values_LT)
    for place in path:  # one by one: together they would need the memory of as many training records
        scaled = (place * values_LT)[None].requires_grad_()
        logit = prompt_logits(model, {**inputs, "ecg_values": scaled}, text_embed_E)
        total_LT += torch.autograd.grad(logit.sum(), scaled)[0][0]
    relevance_LT = total_LT / len(path) * values_LT
    present_LN = present_in(inputs)
    return relevance_LT.float().unflatten(-1, (present_LN.shape[1], -1)).sum(dim=-1).masked_fill(~present_LN, 0.0)


@torch.no_grad()
def occlusion_relevance(model: ECGTextModel, inputs: Inputs, text_embed_E: torch.Tensor) -> torch.Tensor:
    """(L, N) by how much the logit falls when a piece of one lead is taken away; exactly 0 for what is absent.

    A piece is a patch or, where patches are shorter than `OCCLUDED_SECONDS`, as many as fill it; its fall is divided
    among them. An encoder with a token a patch gets none for those, as for a patch that was not recorded. To others
    they are flat.

    Args:
        model, text_embed_E, inputs: as in `gradient_relevance`.
    """
    present_LN = present_in(inputs)
    config = model.config.ecg_config
    length = max(1, round(OCCLUDED_SECONDS * config.sampling_rate / config.patch_length))
    pieces = [
        (lead, start)
        for lead in range(present_LN.shape[0])
        for start in range(0, present_LN.shape[1], length)
        if present_LN[lead, start : start + length].any()
    ]
    hidden_BLN = torch.zeros(len(pieces), *present_LN.shape, dtype=torch.bool, device=present_LN.device)
    for row, (lead, start) in enumerate(pieces):
        hidden_BLN[row, lead, start : start + length] = True
    hidden_BLN &= present_LN
    whole = prompt_logits(model, inputs, text_embed_E)
    falls_B = torch.cat(
        [
            whole - prompt_logits(model, _without(model, inputs, rows), text_embed_E)
            for rows in hidden_BLN.split(_OCCLUSIONS_AT_ONCE)
        ]
    )
    shares_B = falls_B / hidden_BLN.sum(dim=(1, 2))
    return (hidden_BLN * shares_B[:, None, None]).sum(dim=0).float()


def present_in(inputs: Inputs) -> torch.Tensor:
    """(L, N) bool: the lead was recorded and the patch lies within the recording, for inputs of one recording."""
    return inputs["lead_mask"][0].bool()[:, None] & inputs["patch_mask"][0].bool()


def _without(model: ECGTextModel, inputs: Inputs, hidden_BLN: torch.Tensor) -> Inputs:
    """The inputs of one recording, once for each row of what is to be hidden."""
    repeated = {name: tensor.expand(len(hidden_BLN), *tensor.shape[1:]) for name, tensor in inputs.items()}
    if isinstance(model.ecg_model, LeadTimeEncoder):
        return {**repeated, "bool_masked_pos": hidden_BLN}
    values = repeated["ecg_values"]
    return {
        **repeated,
        "ecg_values": values.masked_fill(
            hidden_BLN.repeat_interleave(values.shape[-1] // hidden_BLN.shape[-1], dim=2), 0.0
        ),
    }
