# SPDX-License-Identifier: Apache-2.0
"""MERIT (Nguyen et al., 2026, arXiv 2605.27583) in PyTorch: both towers, pretraining, zero-shot, classification.

What of it is the paper's and what is ours: `MERITConfig`.

Shapes: B batch, L leads, N patches a lead, E embedding width, M statements a record at most.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from transformers.utils import can_return_tuple

from .configuration_merit import MERITConfig, MERITECGConfig
from .ecg_decoder import ECGDecoder
from .errors import ConfigurationError
from .modeling_base import check_ecg_values
from .modeling_ecg_text import ECGTextModel, NestedOutput, ZeroShotMixin
from .modeling_lead_time_encoder import LeadTimeClassifier, LeadTimeEncoder
from .objectives import contrastive_loss, information_bound, reconstruction_loss
from .pretraining_base import ECGViews, PreTrainingMixin, with_each_text
from .projection_head import ProjectionHead


@dataclass
class MERITForPreTrainingOutput(NestedOutput):
    """Both losses unweighted, their weighted sum, and the bounds that they stand for.

    Args:
        loss: ecg_reconstruction_loss_weight * ecg_reconstruction_loss + beta * contrastive_loss.
        ecg_reconstruction_loss, contrastive_loss: None when switched off.
        signal_bound: E log q(x|z) for each masked sample in nats, up to a constant.
        alignment_bound: log B - InfoNCE in nats, see `objectives.information_bound`.
        reconstructed_patches: (B, L, N, samples a patch).
        bool_masked_pos: (B, L, N) bool; None without reconstruction.
        ecg_embeds, text_embeds: (B, E) unit vectors.
    """

    loss: torch.Tensor | None = None
    ecg_reconstruction_loss: torch.Tensor | None = None
    contrastive_loss: torch.Tensor | None = None
    signal_bound: torch.Tensor | None = None
    alignment_bound: torch.Tensor | None = None
    reconstructed_patches: torch.Tensor | None = None
    bool_masked_pos: torch.Tensor | None = None
    ecg_embeds: torch.Tensor | None = None
    text_embeds: torch.Tensor | None = None


class MERITECGModel(LeadTimeEncoder):
    """The ECG branch without heads. Loads from its own checkpoint and from any other MERIT checkpoint."""

    config: MERITECGConfig
    auto_classes: ClassVar = {
        "AutoModel": "modeling_merit.MERITECGModel",
        "AutoModelForAudioClassification": "modeling_merit.MERITForECGClassification",
    }


class MERITModel(ECGTextModel):
    """Both towers and their heads: ECGs and texts to unit vectors in one space."""

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
    r"""The objective of MERIT: keep in Z what X holds, and what it shares with T.

    X is the ECG, T its report, Z what the encoder makes of X. Wanted is the encoder that maximises

        I(Z; X) + beta I(Z; T).

    Signal. For any density q(x|z), Gibbs' inequality gives

        I(Z; X) = H(X) - H(X|Z) = H(X) + E log p(x|z) >= H(X) + E log q(x|z).

    With a Gaussian q whose mean is the decoder's output and whose variance is sigma^2 in every sample,

        log q(x|z) = -||x - decoder(z)||^2 / (2 sigma^2) + constant,

    so that with 2 sigma^2 = 1 maximising the bound is minimising the squared error. H(X) is a property of the data:
    it moves no weight.

    Report. For a batch of B pairs and any similarity of z and t (van den Oord et al., arXiv 1807.03748),

        I(Z; T) >= log B - InfoNCE,

    here with cosine / temperature, in the mean of both directions. Together: minimise

        L = weight * MSE over masked patches + beta * InfoNCE.

    What this does and does not say:

    - H(X) is not known, so the first bound is one up to a constant: `signal_bound` = -MSE, in nats a masked sample,
      compares runs on the same data and in the same units (with `normalize_patches`, X are normalised patches), and
      is no amount of information.
    - The sum over a signal's samples and the mean over them differ by a factor, which is part of the weight; so is
      sigma. Only the ratio of beta to the weight matters, and it is not that of the two amounts of information.
    - The decoder sees z of the masked signal and predicts the rest: what is bounded is what visible patches tell of
      hidden ones. That z of the whole signal, which is aligned, keeps as much follows from nothing; both share one
      encoder, which is why it is trained on both.
    - log B - InfoNCE is at most log B, however much the report tells: a small batch measures little. Losses on the
      training records are estimates that the weights were fitted to.
    - Where reports repeat, texts that an ECG satisfies as well are no negatives in the loss
      (`objectives.satisfied_pairs`). Then log B less that loss bounds nothing: `alignment_bound` is of all pairs,
      which is not what is minimised, and of reports of which 60 in 64 are alike it is small however well they are
      told apart.
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
        """See `PreTrainingMixin`. No text is masked: `special_tokens_mask` and `text_noise` are of no use here."""
        config = self.config
        check_ecg_values(ecg_values, config.ecg_config)
        if input_ids is None and config.aligns:
            raise ConfigurationError("input_ids is missing: with beta above 0 the model is trained on reports.")
        reconstructs = config.ecg_reconstruction_loss_weight > 0
        ecg = ECGViews(self.ecg_model, reconstructs, ecg_values, lead_mask, patch_mask, noise, kwargs)
        output = MERITForPreTrainingOutput(bool_masked_pos=ecg.masked)
        losses: dict[str, torch.Tensor] = {}
        # What is compared comes first: a pass that stops there then draws the same dropout as one that goes on.
        if config.aligns:
            texts = (input_ids, attention_mask, token_type_ids, distinct_texts, text_index)
            pooled = ecg.encoded(hidden=False).pooler_output
            assert pooled is not None  # an encoder pools whatever it is given
            output["ecg_embeds"] = self.project("ecg", pooled).float()
            output["text_embeds"] = self.project("text", self.pooled_texts(*texts)).float()
            if embeds_only:
                return output
            if align:
                embeds = (output["ecg_embeds"], output["text_embeds"])
                losses.update(self.alignment_losses(*embeds, ecg_statement_ids, text_statement_ids))
        if reconstructs:
            assert ecg.masked is not None
            output["reconstructed_patches"] = ecg.decoded(self.ecg_decoder)
            losses["ecg_reconstruction"] = reconstruction_loss(
                output["reconstructed_patches"], ecg_values, ecg.masked, config.ecg_config.normalize_patches
            )
        return self.with_losses(output, losses, ecg_statement_ids, text_statement_ids)

    def loss_weights(self) -> dict[str, float]:
        return {"contrastive": self.config.beta, "ecg_reconstruction": self.config.ecg_reconstruction_loss_weight}

    def alignment_losses(
        self, first, second, ecg_statement_ids=None, text_statement_ids=None, parameters=None
    ) -> dict[str, torch.Tensor]:
        """`contrastive`, over the global batch; with several texts an ECG, each text is a pair with it."""
        ecg_embeds, ecg_statement_ids = with_each_text(first, second, ecg_statement_ids)
        statements = (ecg_statement_ids, text_statement_ids)
        return {"contrastive": contrastive_loss(ecg_embeds, second, self.config.temperature, *statements)}

    def with_losses(self, output, losses, ecg_statement_ids=None, text_statement_ids=None):
        """As in the base class, with the bounds."""
        output = super().with_losses(output, losses, ecg_statement_ids, text_statement_ids)
        if "ecg_reconstruction" in losses:
            output["signal_bound"] = -losses["ecg_reconstruction"].detach()
        if "contrastive" in losses:
            texts = output["text_embeds"]
            ecg_embeds, _ = with_each_text(output["ecg_embeds"], texts, ecg_statement_ids)
            output["alignment_bound"] = information_bound(ecg_embeds, texts, self.config.temperature)
        return output


class MERITForZeroShot(ZeroShotMixin, MERITModel):
    """Prompts in, one score a prompt out."""


class MERITForECGClassification(LeadTimeClassifier):
    """The ECG encoder with a linear classifier on its mean token: fine-tuning, or a linear probe when frozen."""

    config: MERITECGConfig
    encoder_class = MERITECGModel
    auto_classes = MERITECGModel.auto_classes
