# SPDX-License-Identifier: Apache-2.0
"""C-MELT, later D-BETA (Pham et al., ICML 2025, arXiv 2410.02131): masked ECGs, masked texts, matching, and alignment.

Shapes: b records in this process, B in all of them, S tokens of a text, K masked tokens, H text width, E embedding
width.
"""

import copy
import math
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F

from cgdmer.models.ecg_decoder import ECGDecoder
from cgdmer.models.errors import ConfigurationError
from cgdmer.models.masking import mask_report_tokens
from cgdmer.models.modeling_base import ECGPreTrainedModel, masked_mean
from cgdmer.models.modeling_lead_time_encoder import LeadTimeEncoder
from cgdmer.models.objectives import (
    gather_over_processes,
    masked_token_loss,
    rank_and_world_size,
    satisfied_pairs,
    siglip_loss,
)
from cgdmer.models.pretraining_base import ECGViews
from cgdmer.models.text_decoder import VocabularyHead
from cgdmer.training.objectives.base import Batch, Computed, precise
from cgdmer.training.objectives.fusion import Fusion
from cgdmer.training.objectives.matching import texts_to_fuse
from cgdmer.training.objectives.two_towers import TwoTowers

LAYERS = 2  # of the fusion; the paper's has six
TEXT_MASKED = 0.25


class CMELT(TwoTowers):
    """Four losses of weight 1 from one pass of masked ECGs and masked texts; all but the last see fused tokens.

    ECG reconstruction (after half of the fusion's layers), text reconstruction, matching (half of the records of the
    global batch get a text that does not hold), and the sigmoid loss of embeddings, as a mean over all pairs. How much
    of an ECG is masked, and where the scale and bias of the sigmoid loss start, is as in the model's configuration.

    Raises:
        ConfigurationError: the model is no CG-DMER with its own ECG encoder, or masks no patch.
    """

    def __init__(self, model: ECGPreTrainedModel):
        super().__init__(model)
        encoder, config, text_config = self.ecg_model, self.config, self.config.text_config
        knows_mask = hasattr(config, "mask_token_id")
        if not isinstance(encoder, LeadTimeEncoder) or not knows_mask:
            raise ConfigurationError(
                f"c_melt masks patches of an ECG and tokens of a text, which {type(model).__name__} with an encoder "
                f"of type {encoder.config.model_type!r} cannot. Use --config_name cgdmer-tiny, or another preset of "
                "CG-DMER with its own encoder."
            )
        if not encoder.config.hides_patches:
            raise ConfigurationError("c_melt restores masked patches, but the encoder's mask_ratio hides none.")
        width = text_config.hidden_size
        fused_config = copy.copy(encoder.config)
        fused_config.hidden_size = width  # what it decodes from
        self.fusion = Fusion(encoder.config, text_config, LAYERS)
        self.ecg_decoder = ECGDecoder(fused_config)
        self.vocabulary_head = VocabularyHead(width, text_config.vocab_size)
        self.match_head = nn.Linear(2 * width, 1)
        for part in (self.fusion, self.ecg_decoder, self.vocabulary_head, self.match_head):
            part.apply(model._init_weights)
        self.log_scale = nn.Parameter(torch.tensor(math.log(config.siglip_initial_scale)))
        self.bias = nn.Parameter(torch.tensor(float(config.siglip_initial_bias)))

    def compute(self, batch: Batch) -> Computed:
        masks = batch.get("lead_mask"), batch.get("patch_mask")
        views = ECGViews(self.ecg_model, True, batch["ecg_values"], *masks, batch["noise"], {})
        visible = views.encoded(hidden=True)
        assert visible.pooler_output is not None and visible.visible_mask is not None
        ecg, text = self.embeds(visible.pooler_output, batch)
        own_ecg, *statements = self.pairs(ecg, text, batch)
        texts_in_all = len(text) * rank_and_world_size()[1]
        first_rows = slice(None, None, len(text) // len(ecg))  # one text per ECG is fused
        chosen, holds = self._texts_to_fuse(text[first_rows], batch, first_rows)
        texts = self._masked_texts(batch, first_rows).rows(chosen)
        fused = self.fusion(visible.last_hidden_state, visible.visible_mask, texts.hidden, texts.attention_mask)
        halfway, (last_ecg, last_text) = fused[LAYERS // 2 - 1].ecg, fused[-1]
        normalizes = self.ecg_model.config.normalize_patches
        both = masked_mean(last_ecg, visible.visible_mask), masked_mean(last_text, texts.attention_mask)
        logits = precise(self.match_head(torch.cat(both, dim=-1)).squeeze(-1))
        losses = {
            "ecg_reconstruction": views.reconstructed(
                self.ecg_decoder, batch["ecg_values"], normalizes, tokens=halfway
            ).loss,
            "text_reconstruction": self._text_loss(last_text, texts),
            "matching": F.binary_cross_entropy_with_logits(logits, holds.to(logits)),
            "siglip": siglip_loss(own_ecg, text, self.log_scale.exp(), self.bias, *statements) / texts_in_all,
        }
        return Computed(losses, visible.pooler_output, ecg, text)

    def loss_weights(self) -> dict[str, float]:
        return dict.fromkeys(("ecg_reconstruction", "text_reconstruction", "matching", "siglip"), 1.0)

    @torch.no_grad()
    def _texts_to_fuse(self, text_bE, batch: Batch, first_rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """See `texts_to_fuse`; which texts hold is known from the statements or, without them, only of the own one.

        The loader's numbers decide: the sum of those for patches, and that of the first token, which is never masked.
        """
        similarity_bB = text_bE @ gather_over_processes(text_bE.contiguous()).T
        rank, _ = rank_and_world_size()
        own_b = torch.arange(len(text_bE), device=text_bE.device) + rank * len(text_bE)
        holds_bB = F.one_hot(own_b, similarity_bB.shape[1]).bool()
        if "ecg_statement_ids" in batch:
            stated_BM = gather_over_processes(batch["text_statement_ids"][first_rows].contiguous())
            holds_bB = holds_bB | satisfied_pairs(batch["ecg_statement_ids"], stated_BM)
        order_B = gather_over_processes(batch["noise"].sum(dim=(1, 2)) % 1).argsort(stable=True)
        replaced_b = order_B.argsort()[own_b] < len(order_B) // 2
        return texts_to_fuse(similarity_bB, holds_bB, own_b, replaced_b, batch["text_noise"][first_rows, 0])

    def _masked_texts(self, batch: Batch, first_rows: slice) -> "MaskedTexts":
        """Those of the global batch, encoded in the process that holds them."""
        length = _longest(batch["input_ids"])

        def part(name: str, fill: float) -> torch.Tensor:
            rows = batch[name][first_rows]
            return F.pad(rows, (0, length - rows.shape[1]), value=fill)

        ids, attention = part("input_ids", 0), part("attention_mask", 0)
        maskable = attention.bool() & ~part("special_tokens_mask", 1).bool()
        masked, positions, valid = mask_report_tokens(part("text_noise", 1.0), maskable, TEXT_MASKED)
        types = part("token_type_ids", 0) if "token_type_ids" in batch else None
        corrupted = ids.masked_fill(masked, self.config.mask_token_id)
        hidden = self.model.encode_text(corrupted, attention, types).last_hidden_state
        parts = hidden, attention, ids.gather(1, positions), positions, valid.long()
        return MaskedTexts(*(gather_over_processes(each) for each in parts))

    def _text_loss(self, fused_bSH: torch.Tensor, texts: "MaskedTexts") -> torch.Tensor:
        predicted_bKH = fused_bSH.gather(1, texts.positions[..., None].expand(-1, -1, fused_bSH.shape[-1]))
        logits_bKV = self.vocabulary_head(predicted_bKH, self.model.get_input_embeddings().weight)
        return masked_token_loss(logits_bKV, texts.tokens, texts.valid.bool())


class MaskedTexts(NamedTuple):
    """Texts with masked tokens.

    Attributes:
        hidden: (texts, S, H), the text tower's last hidden states.
        attention_mask: (texts, S), 0 for padding.
        tokens, positions, valid: (texts, K) the masked tokens, where they are, and 0 for padding.
    """

    hidden: torch.Tensor
    attention_mask: torch.Tensor
    tokens: torch.Tensor
    positions: torch.Tensor
    valid: torch.Tensor

    def rows(self, chosen: torch.Tensor) -> "MaskedTexts":
        return MaskedTexts(*(part[chosen] for part in self))


def _longest(ids_bS: torch.Tensor) -> int:
    """S of the process with the longest texts; each pads only to the longest of its own."""
    length = torch.tensor(ids_bS.shape[1], device=ids_bS.device)
    if rank_and_world_size()[1] > 1:
        dist.all_reduce(length, op=dist.ReduceOp.MAX)
    return int(length)
