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
OCCLUDED_SECONDS = 0.4
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
        features = self.head.features(self.encoder(**inputs, return_dict=True).pooler_output)
        return self.head.log_odds(self.head.logits(features))[:, self.column]


def integrated_gradients(logit_of: LabelLogit, inputs: Inputs) -> tuple[torch.Tensor, float]:
    """(L, N) relevance, which adds up to the logit of the recording minus that of a flat line, and what is missing.

    Integrated gradients (Sundararajan et al., ICML 2017, arXiv 1703.01365), taken at the middles of equal steps. The
    arguments are those of `gradient_relevance`.
    """
    with torch.no_grad():
        flat = {**inputs, "ecg_values": torch.zeros_like(inputs["ecg_values"])}
        change = float(logit_of(inputs) - logit_of(flat))
    steps = NUM_STEPS
    while True:
        path = [(step + 0.5) / steps for step in range(steps)]
        relevance_LN = gradient_relevance(logit_of, inputs, path)
        rest = change - float(relevance_LN.sum())
        if abs(rest) <= LARGEST_REST or steps >= MOST_STEPS:
            return relevance_LN, rest
        steps *= 2


def gradient_relevance(logit_of: LabelLogit, inputs: Inputs, path: Sequence[float]) -> torch.Tensor:
    """(L, N) gradient of the logit times the signal, summed over each patch and averaged along a path.

    Absent leads and patches get exactly 0.

    Args:
        logit_of: of the label.
        inputs: as in `LabelLogit`, for one recording (B = 1).
        path: where gradients are taken, from a flat line (0.0) to the recording (1.0). With `(1.0,)` this is gradient
            times input.
    """
    values_LT = inputs["ecg_values"][0].detach()
    total_LT = torch.zeros_like(values_LT)
    for place in path:  # one by one: together they would need as much memory as training on that many records
        scaled = (place * values_LT)[None].requires_grad_()
        logit = logit_of({**inputs, "ecg_values": scaled})
        total_LT += torch.autograd.grad(logit.sum(), scaled)[0][0]
    relevance_LT = total_LT / len(path) * values_LT
    present_LN = present_in(inputs)
    return relevance_LT.float().unflatten(-1, (present_LN.shape[1], -1)).sum(dim=-1).masked_fill(~present_LN, 0.0)


@torch.no_grad()
def occlusion_relevance(logit_of: LabelLogit, inputs: Inputs) -> torch.Tensor:
    """(L, N) the fall of the logit when a piece of one lead is hidden; exactly 0 for what is absent.

    A piece is a patch or, if patches are shorter than `OCCLUDED_SECONDS`, as many patches as last that long, which
    share the fall equally. An encoder with a token per patch gets no tokens for a hidden piece, as if it had not been
    recorded. Other encoders see a flat line there. The arguments are those of `gradient_relevance`.
    """
    present_LN = present_in(inputs)
    config = logit_of.encoder.config
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
    whole = logit_of(inputs)
    falls_B = torch.cat(
        [whole - logit_of(_without(logit_of.encoder, inputs, rows)) for rows in hidden_BLN.split(_OCCLUSIONS_AT_ONCE)]
    )
    shares_B = falls_B / hidden_BLN.sum(dim=(1, 2))
    return (hidden_BLN * shares_B[:, None, None]).sum(dim=0).float()


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
