# SPDX-License-Identifier: Apache-2.0
"""What a training step computes for one record: by this, operations are counted without knowing the family."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainingPasses:
    """How often each part runs for one record.

    Attributes:
        masked, whole: passes of the ECG encoder, over the visible patches and over all.
        decoded: passes of the ECG decoder.
        masked_texts: passes of the text tower over a report with masked tokens, which are then predicted as the
            configuration's `text_objective`, `text_mask_ratio` and `text_decoder_num_hidden_layers` say.
        whole_texts: passes of the text tower over a whole text; a text that comes several times is encoded once.
        ecg_heads, text_heads: passes of two-layer heads of the sizes `projection_hidden_size` and `projection_size`.
    """

    masked: int = 0
    whole: int = 0
    decoded: int = 0
    masked_texts: int = 0
    whole_texts: int = 0
    ecg_heads: int = 0
    text_heads: int = 0
