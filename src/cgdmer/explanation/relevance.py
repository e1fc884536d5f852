# SPDX-License-Identifier: Apache-2.0
"""How much each lead and patch of an ECG contributes to the score of a label: gradients, and occlusion as a check.

Shapes: B batch, L leads, T samples, N patches per lead.
"""

from collections.abc import Sequence

import torch

from cgdmer.inference.scorers import LabelHead
from cgdmer.models.modeling_base import ECGPreTrainedModel
from cgdmer.models.modeling_lead_time_encoder import LeadTimeEncoder

# The steps from a flat line to the recording are doubled, up to a limit, until the sum of the relevance and the change
# of the logit differ by no more than `LARGEST_REST`.
NUM_STEPS, MOST_STEPS = 16, 128
LARGEST_REST = 0.1
# Shorter pieces cost more, and hiding one of them hardly changes the score.
OCCLUDED_SECONDS = 2.0
_OCCLUSIONS_AT_ONCE = 20

Inputs = dict[str, torch.Tensor]


class LabelLogit:
    """What is explained: the logit of one label, whose sigmoid is its score, or the value of a regression.

    Args:
        model: any model with the head's encoder.
        head: of one label or more.
        column: which of the head's labels.
    """

    def __init__(self, model: ECGPreTrainedModel, head: LabelHead, column: int = 0):
        self.encoder, self.head, self.column = model.base_model, head, column

    def __call__(self, inputs: Inputs) -> torch.Tensor:
        """(B,) logits.

        Args:
            inputs: what the encoder takes: `ecg_values` (B, L, T), `lead_mask` (B, L), `patch_mask` (B, N).
        """
        features = self.head.features(self.encoder(**inputs, return_dict=True))
        return self.head.log_odds(self.head.logits(features))[:, self.column]


def integrated_gradients(logit_of: LabelLogit, inputs: Inputs) -> tuple[torch.Tensor, float]:
    """(L, N) relevance, which adds up to the logit of the recording minus that of a flat line, and what is missing.

    Integrated gradients (Sundararajan et al., ICML 2017, arXiv 1703.01365), along the path of `integration_path`. The
    arguments are those of `gradient_relevance`.
    """
    with torch.no_grad():
        flat = {**inputs, "ecg_values": torch.zeros_like(inputs["ecg_values"])}
        change = float(logit_of(inputs) - logit_of(flat))
    steps = NUM_STEPS
    while True:
        relevance_LN = gradient_relevance(logit_of, inputs, *integration_path(steps))
        rest = change - float(relevance_LN.sum())
        if abs(rest) <= LARGEST_REST or steps >= MOST_STEPS:
            return relevance_LN, rest
        steps *= 2


def integration_path(steps: int) -> tuple[list[float], list[float]]:
    """Places from a flat line (0) to the recording (1), and the weight of each, which add up to about 1.

    They are the cubes of the middles of equal steps (ours): the tokenizer's normalization levels out amplitudes, so
    the logit changes fastest near the flat line. On recordings of PTB-XL, 32 of these steps left a rest of at most
    0.003, and up to 128 equal steps one of 0.01 to 0.08.
    """
    middles = [(step + 0.5) / steps for step in range(steps)]
    return [middle**3 for middle in middles], [3 * middle**2 / steps for middle in middles]


def gradient_relevance(
    logit_of: LabelLogit, inputs: Inputs, path: Sequence[float], weights: Sequence[float]
) -> torch.Tensor:
    """(L, N) gradient of the logit times the signal, summed over each patch and along a path.

    Absent leads and patches get exactly 0.

    Args:
        logit_of: of the label.
        inputs: as in `LabelLogit`, for one recording (B = 1).
        path: where gradients are taken, from a flat line (0.0) to the recording (1.0).
        weights: one for each of them. With the path `(1.0,)` and the weight `(1.0,)` this is gradient times input.
    """
    values_LT = inputs["ecg_values"][0].detach()
    total_LT = torch.zeros_like(values_LT)
    # One by one: together they would need as much memory as training on that many records.
    for place, weight in zip(path, weights, strict=True):
        scaled = (place * values_LT)[None].requires_grad_()
        logit = logit_of({**inputs, "ecg_values": scaled})
        total_LT += weight * torch.autograd.grad(logit.sum(), scaled)[0][0]
    relevance_LT = total_LT * values_LT
    present_LN = present_in(inputs)
    return relevance_LT.float().unflatten(-1, (present_LN.shape[1], -1)).sum(dim=-1).masked_fill(~present_LN, 0.0)


def occluded_pieces(encoder: ECGPreTrainedModel, inputs: Inputs) -> torch.Tensor:
    """(P, L, N) bool, the pieces of one lead that occlusion hides, of those that are present.

    A piece lasts `OCCLUDED_SECONDS`, or as many whole patches as come closest to that, but at least one.
    """
    present_LN, config = present_in(inputs), encoder.config
    length = max(1, round(OCCLUDED_SECONDS * config.sampling_rate / config.patch_length))
    leads, patches = present_LN.shape
    pieces_PLN = torch.zeros(leads, -(-patches // length), leads, patches, dtype=torch.bool, device=present_LN.device)
    for lead in range(leads):
        for piece in range(pieces_PLN.shape[1]):
            pieces_PLN[lead, piece, lead, piece * length : (piece + 1) * length] = True
    pieces_PLN = pieces_PLN.flatten(0, 1) & present_LN
    return pieces_PLN[pieces_PLN.any(dim=(1, 2))]


@torch.no_grad()
def occlusion_relevance(logit_of: LabelLogit, inputs: Inputs, pieces_PLN: torch.Tensor) -> torch.Tensor:
    """(L, N) the fall of the logit when a piece of one lead is hidden; exactly 0 for what is absent.

    The patches of a piece share the fall equally. An encoder with a token per patch gets no tokens for a hidden piece,
    as if it had not been recorded. Other encoders see a flat line there.

    Args:
        logit_of, inputs: as in `gradient_relevance`.
        pieces_PLN: from `occluded_pieces`. A piece that is all there is of the recording has a fall of 0.
    """
    hidden_PLN = pieces_PLN[(present_in(inputs) & ~pieces_PLN).any(dim=(1, 2))]
    if not len(hidden_PLN):
        return torch.zeros(pieces_PLN.shape[1:], device=pieces_PLN.device)
    whole = logit_of(inputs)
    falls_P = torch.cat(
        [whole - logit_of(_without(logit_of.encoder, inputs, rows)) for rows in hidden_PLN.split(_OCCLUSIONS_AT_ONCE)]
    )
    shares_P = falls_P / hidden_PLN.sum(dim=(1, 2))
    return (hidden_PLN * shares_P[:, None, None]).sum(dim=0).float()


def present_in(inputs: Inputs) -> torch.Tensor:
    """(L, N) bool, for the inputs of one recording: the lead was recorded, and the patch lies within the recording."""
    return inputs["lead_mask"][0].bool()[:, None] & inputs["patch_mask"][0].bool()


def _without(encoder: torch.nn.Module, inputs: Inputs, hidden_BLN: torch.Tensor) -> Inputs:
    """The inputs of one recording, once per row of what to hide."""
    repeated = {name: tensor.expand(len(hidden_BLN), *tensor.shape[1:]) for name, tensor in inputs.items()}
    if isinstance(encoder, LeadTimeEncoder):
        return {**repeated, "bool_masked_pos": hidden_BLN}
    values = repeated["ecg_values"]
    hidden_BLT = hidden_BLN.repeat_interleave(values.shape[-1] // hidden_BLN.shape[-1], dim=2)
    return {**repeated, "ecg_values": values.masked_fill(hidden_BLT, 0.0)}
