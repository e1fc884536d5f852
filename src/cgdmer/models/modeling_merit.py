# SPDX-License-Identifier: Apache-2.0
"""MERIT (Nguyen et al., 2026, arXiv 2605.27583) in PyTorch: both towers, pretraining, zero-shot, classification.

`MERITConfig` says what comes from the paper and what is ours.

Shapes: B batch, L leads, N patches per lead, E embedding width.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from transformers.utils import can_return_tuple

from .configuration_merit import MERITConfig, MERITECGConfig
from .ecg_decoder import ECGDecoder
from .errors import ConfigurationError
from .modeling_base import check_ecg_values
from .modeling_classifier import ECGEncoderForClassification
from .modeling_ecg_text import ECGTextModel, NestedOutput, ZeroShotMixin
from .modeling_lead_time_encoder import LeadTimeEncoder
from .objectives import contrastive_loss, information_bound
from .pretraining_base import ECGViews, PreTrainingMixin, with_each_text
from .projection_head import ProjectionHead


@dataclass
class MERITForPreTrainingOutput(NestedOutput):
    """Both unweighted losses, their weighted sum, and the corresponding bounds.

    Args:
        loss: ecg_reconstruction_loss_weight * ecg_reconstruction_loss + beta * contrastive_loss.
        ecg_reconstruction_loss, contrastive_loss: None when switched off.
        signal_bound: E log q(x|z) per masked sample in nats, up to a constant.
        alignment_bound: log B - InfoNCE in nats, see `objectives.information_bound`.
        ecg_reconstruction_r2: see `objectives.reconstruction_r2`; not a loss.
        reconstructed_patches: (B, L, N, samples per patch).
        bool_masked_pos: (B, L, N) bool; None without reconstruction.
        ecg_embeds, text_embeds: (B, E) unit vectors.
    """

    loss: torch.Tensor | None = None
    ecg_reconstruction_loss: torch.Tensor | None = None
    contrastive_loss: torch.Tensor | None = None
    signal_bound: torch.Tensor | None = None
    alignment_bound: torch.Tensor | None = None
    ecg_reconstruction_r2: torch.Tensor | None = None
    reconstructed_patches: torch.Tensor | None = None
    bool_masked_pos: torch.Tensor | None = None
    ecg_embeds: torch.Tensor | None = None
    text_embeds: torch.Tensor | None = None


class MERITECGModel(LeadTimeEncoder):
    """The ECG branch without heads. Loads from any MERIT checkpoint."""

    config: MERITECGConfig
    auto_classes: ClassVar = {
        "AutoModel": "modeling_merit.MERITECGModel",
        "AutoModelForAudioClassification": "modeling_merit.MERITForECGClassification",
    }


class MERITModel(ECGTextModel):
    """Both towers and their heads: map ECGs and texts to unit vectors in one space."""

    config: MERITConfig
    ecg_models: ClassVar = {MERITECGConfig.model_type: MERITECGModel}
    auto_classes: ClassVar = {
        "AutoModel": "modeling_merit.MERITModel",
        "AutoModelForPreTraining": "modeling_merit.MERITForPreTraining",
        "AutoModelForZeroShotImageClassification": "modeling_merit.MERITForZeroShot",
    }

    def __init__(self, config: MERITConfig):
        super().__init__(config)
        self.ecg_head = ProjectionHead(config, config.ecg_config.hidden_size)
        self.text_head = ProjectionHead(config, config.text_config.hidden_size)
        self.post_init()

    def head_of(self, modality: str) -> ProjectionHead:
        return self.ecg_head if modality == "ecg" else self.text_head


class MERITForPreTraining(PreTrainingMixin, MERITModel):
    r"""The objective of MERIT: preserve in Z the information in X, and what X shares with T.

    X is the ECG, T its report, and Z the encoder's output for X. The goal is an encoder that maximizes

        I(Z; X) + beta I(Z; T).

    Signal. For any density q(x|z), Gibbs' inequality gives

        I(Z; X) = H(X) - H(X|Z) = H(X) + E log p(x|z) >= H(X) + E log q(x|z).

    For a Gaussian q with the decoder's output as its mean and variance sigma^2 in every sample,

        log q(x|z) = -||x - decoder(z)||^2 / (2 sigma^2) + constant,

    so with 2 sigma^2 = 1, maximizing the bound means minimizing the squared error. Here X is measured in units of the
    record's own standard deviation (ours; with `normalize_patches`, of the patch's). H(X) is a property of the data
    and does not affect the weights.

    Report. For a batch of B pairs and any similarity of z and t (van den Oord et al., arXiv 1807.03748),

        I(Z; T) >= log B - InfoNCE,

    here with cosine / temperature, averaged over both directions. Together: minimize

        L = weight * MSE over masked patches + beta * InfoNCE.

    What this does and does not say:

    - H(X) is unknown, so the first bound holds up to a constant. `signal_bound` = -MSE, in nats per masked sample,
      compares runs on the same data in the same units. It is not an amount of information.
    - The sum and the mean over a signal's samples differ by a factor, which is part of the weight; so is sigma. Only
      the ratio of beta to the weight matters, and it is not the ratio of the two amounts of information.
    - The decoder sees z of the masked signal and predicts the rest, so the bound is on what visible patches tell about
      hidden ones. Nothing guarantees that z of the whole signal, which is aligned, preserves as much. Both come from
      one encoder, which is why it is trained on both.
    - log B - InfoNCE is at most log B, however informative the report is: a small batch measures little. Losses on
      the training records are estimates on the data that the weights were fitted to.
    - When reports repeat, other texts that an ECG satisfies are not negatives in the loss
      (`objectives.satisfied_pairs`). Then log B minus that loss is not a bound. `alignment_bound` uses all pairs,
      which is not what is minimized; if 60 of 64 reports are the same, it is small however well they are told apart.
    """

    output_class = MERITForPreTrainingOutput

    def __init__(self, config: MERITConfig):
        super().__init__(config)
        if config.ecg_reconstruction_loss_weight > 0:
            self.ecg_decoder = ECGDecoder(self.ecg_model.config)
        self.post_init()
        self.freeze_unused_parameters()

    def freeze_unused_parameters(self) -> None:
        if not self.config.aligns:
            for module in (self.ecg_head, self.text_head, self.text_model):
                module.requires_grad_(False)

    @can_return_tuple
    def forward(
        self,
        ecg_values: torch.Tensor,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        lead_mask: torch.Tensor | None = None,
        patch_mask: torch.Tensor | None = None,
        noise: torch.Tensor | None = None,
        ecg_statement_ids: torch.Tensor | None = None,
        text_statement_ids: torch.Tensor | None = None,
        distinct_texts: torch.Tensor | None = None,
        text_index: torch.Tensor | None = None,
        special_tokens_mask: torch.Tensor | None = None,
        text_noise: torch.Tensor | None = None,
        align: bool = True,
        embeds_only: bool = False,
        **kwargs,
    ) -> MERITForPreTrainingOutput:
        """See `PreTrainingMixin`. Texts are not masked: `special_tokens_mask` and `text_noise` are ignored."""
        config = self.config
        check_ecg_values(ecg_values, config.ecg_config)
        if input_ids is None and config.aligns:
            raise ConfigurationError("input_ids is missing: with beta above 0, the model is trained on reports.")
        reconstructs = config.ecg_reconstruction_loss_weight > 0
        ecg = ECGViews(
            self.ecg_model, reconstructs, ecg_values, lead_mask, patch_mask, noise, self.for_encoder(kwargs)
        )
        output = MERITForPreTrainingOutput(bool_masked_pos=ecg.masked)
        losses: dict[str, torch.Tensor] = {}
        # Embeddings come first: a pass that stops after them then draws the same dropout as a full pass.
        if config.aligns:
            texts = (input_ids, attention_mask, token_type_ids, distinct_texts, text_index)
            pooled = ecg.encoded(hidden=False).pooler_output
            assert pooled is not None  # the encoder always pools
            output["ecg_embeds"] = self.project("ecg", pooled).float()
            output["text_embeds"] = self.project("text", self.pooled_texts(*texts)).float()
            if embeds_only:
                return output
            if align:
                embeds = (output["ecg_embeds"], output["text_embeds"])
                losses.update(self.alignment_losses(*embeds, ecg_statement_ids, text_statement_ids))
        if reconstructs:
            restored = ecg.reconstructed(self.ecg_decoder, ecg_values, config.ecg_config.normalize_patches)
            output["reconstructed_patches"], losses["ecg_reconstruction"] = restored.patches, restored.loss
            output["ecg_reconstruction_r2"] = restored.r2
        return self.with_losses(output, losses, ecg_statement_ids)

    def loss_weights(self) -> dict[str, float]:
        return {"contrastive": self.config.beta, "ecg_reconstruction": self.config.ecg_reconstruction_loss_weight}

    def alignment_losses(
        self, first, second, ecg_statement_ids=None, text_statement_ids=None, parameters=None
    ) -> dict[str, torch.Tensor]:
        """`contrastive`, over the global batch; each of an ECG's texts forms a pair with it."""
        ecg_embeds, ecg_statement_ids = with_each_text(first, second, ecg_statement_ids)
        statements = (ecg_statement_ids, text_statement_ids)
        return {"contrastive": contrastive_loss(ecg_embeds, second, self.config.temperature, *statements)}

    def with_losses(self, output, losses, ecg_statement_ids=None):
        """As in the base class, with the bounds."""
        output = super().with_losses(output, losses)
        if "ecg_reconstruction" in losses:
            output["signal_bound"] = -losses["ecg_reconstruction"].detach()
        if "contrastive" in losses:
            texts = output["text_embeds"]
            ecg_embeds, _ = with_each_text(output["ecg_embeds"], texts, ecg_statement_ids)
            output["alignment_bound"] = information_bound(ecg_embeds, texts, self.config.temperature)
        return output


class MERITForZeroShot(ZeroShotMixin, MERITModel):
    """Prompts in, one score per prompt out."""


class MERITForECGClassification(ECGEncoderForClassification):
    """The ECG encoder with a linear classifier on its mean token: for fine-tuning, or frozen for a linear probe."""

    config: MERITECGConfig
    encoder_class = MERITECGModel
    auto_classes = MERITECGModel.auto_classes
