# SPDX-License-Identifier: Apache-2.0
"""ETP (Liu et al., ICASSP 2024, arXiv 2309.07145): contrast of ECGs and texts, as in CLIP, and nothing else.

No code was released; what the paper leaves open (heads, temperature) is as in CG-DMER here.
"""

from typing import ClassVar

from cgdmer.models.objectives import contrastive_loss
from cgdmer.models.pretraining_base import with_each_text
from cgdmer.training.objectives.base import Batch, Computed, Objective, precise

TEMPERATURE = 0.07


class ETP(Objective):
    """Symmetric cross-entropy over the global batch; repeated findings are no negatives, as everywhere here (ours)."""

    takes_texts: ClassVar = True

    def compute(self, batch: Batch) -> Computed:
        pooled = self.encode(batch).pooler_output
        ecg = precise(self.model.project("ecg", pooled))
        names = ("input_ids", "attention_mask", "token_type_ids", "distinct_texts", "text_index")
        text = precise(self.model.project("text", self.model.pooled_texts(*(batch.get(name) for name in names))))
        pairs, ecg_statements = with_each_text(ecg, text, batch.get("ecg_statement_ids"))
        statements = (ecg_statements, batch.get("text_statement_ids"))
        losses = {"contrastive": contrastive_loss(pairs, text, TEMPERATURE, *statements)}
        return Computed(losses, pooled, ecg, text)

    def loss_weights(self) -> dict[str, float]:
        return {"contrastive": 1.0}
