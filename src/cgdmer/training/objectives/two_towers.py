# SPDX-License-Identifier: Apache-2.0
"""What methods with texts have in common: both towers with one head each, and pairs of ECG and text.

Shapes: b records in this process, D width of the ECG encoder, E embedding width, M maximum statements per record.
"""

from typing import ClassVar

import torch

from cgdmer.models.modeling_base import ECGPreTrainedModel
from cgdmer.models.pretraining_base import with_each_text
from cgdmer.models.projection_head import ProjectionHead
from cgdmer.training.objectives.base import Batch, Objective, precise


class TwoTowers(Objective):
    """Trains a model with a text tower, which is saved whole, so that it scores prompts.

    Each ECG may have several texts, all ECGs the same number: see `PreTrainingMixin`.
    """

    takes_texts: ClassVar = True

    def __init__(self, model: ECGPreTrainedModel):
        super().__init__(model)
        used = [model.head_of(modality) for modality in ("ecg", "text")]
        for part in model.children():
            if isinstance(part, ProjectionHead) and part not in used:
                part.requires_grad_(False)  # of CG-DMER's orthogonality, which no loss here reaches

    def embeds(self, pooled_bD: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """(b, E) of ECGs, given the encoder's pooled output, and (texts, E) of their whole texts: unit vectors."""
        names = ("input_ids", "attention_mask", "token_type_ids", "distinct_texts", "text_index")
        pooled_texts = self.model.pooled_texts(*(batch.get(name) for name in names))
        return precise(self.model.project("ecg", pooled_bD)), precise(self.model.project("text", pooled_texts))

    def pairs(
        self, ecg_bE: torch.Tensor, text_embeds: torch.Tensor, batch: Batch
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """For each text: its ECG's embedding, what holds for this ECG, and what the text states.

        Raises:
            ConfigurationError: there are several texts per ECG but no statements.
        """
        own_ecg, held = with_each_text(ecg_bE, text_embeds, batch.get("ecg_statement_ids"))
        return own_ecg, held, batch.get("text_statement_ids")
