# SPDX-License-Identifier: Apache-2.0
"""CoRe-ECG (Qin et al., 2026, arXiv 2604.11359) in PyTorch: encoder, pretraining on signals alone, classification.

`CoReECGConfig` says what comes from the paper and what is ours.

Shapes: B batch, V views, L leads, T samples, N patches per lead, F spectrum bins, E embedding width.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F
from transformers import initialization as init
from transformers.utils import ModelOutput, can_return_tuple

from .configuration_coreecg import CoReECGConfig
from .ecg_decoder import ECGDecoder
from .frequency_augmentation_coreecg import FrequencyAugmentation
from .modeling_base import ECGPreTrainedModel, check_ecg_values
from .modeling_classifier import ECGEncoderForClassification
from .modeling_lead_time_encoder import LeadTimeEncoder
from .objectives import contrastive_loss
from .pretraining_base import ECGViews, PreTrainingMixin
from .projection_head import ProjectionHead

_AUTO_CLASSES = {
    "AutoModel": "modeling_coreecg.CoReECGModel",
    "AutoModelForPreTraining": "modeling_coreecg.CoReECGForPreTraining",
    "AutoModelForAudioClassification": "modeling_coreecg.CoReECGForECGClassification",
}
_NOT_WANTED = [*ECGPreTrainedModel._keys_to_ignore_on_load_unexpected, r"^frequency_augmentation\."]


@dataclass
class CoReECGForPreTrainingOutput(ModelOutput):
    """Each unweighted loss, and their weighted sum.

    Args:
        loss: weighted sum over the active branches.
        contrastive_loss, ecg_reconstruction_loss, importance_loss: None when switched off.
        ecg_reconstruction_r2: see `objectives.reconstruction_r2`; not a loss.
        reconstructed_patches: (B, L, N, samples per patch), from the first view.
        bool_masked_pos: (B, L, N) bool, the masked patches of the first view.
        first_embeds, second_embeds: (B, E) unit vectors, the global representations of the two views.
    """

    loss: torch.Tensor | None = None
    contrastive_loss: torch.Tensor | None = None
    ecg_reconstruction_loss: torch.Tensor | None = None
    importance_loss: torch.Tensor | None = None
    ecg_reconstruction_r2: torch.Tensor | None = None
    reconstructed_patches: torch.Tensor | None = None
    bool_masked_pos: torch.Tensor | None = None
    first_embeds: torch.Tensor | None = None
    second_embeds: torch.Tensor | None = None


class CoReECGModel(LeadTimeEncoder):
    """The encoder alone; its mean token is a record's embedding. Loads from any CoRe-ECG checkpoint."""

    config: CoReECGConfig
    auto_classes: ClassVar = _AUTO_CLASSES
    _keys_to_ignore_on_load_unexpected: ClassVar = _NOT_WANTED


class CoReECGForPreTraining(PreTrainingMixin, ECGPreTrainedModel):
    """Perturbs and masks two views of each record, aligns their global representations, and restores the signal."""

    config: CoReECGConfig
    auto_classes: ClassVar = _AUTO_CLASSES
    output_class = CoReECGForPreTrainingOutput
    compared = ("first_embeds", "second_embeds")

    def __init__(self, config: CoReECGConfig):
        super().__init__(config)
        self.ecg_model = CoReECGModel._from_config(config)
        if config.contrasts:
            self.ecg_head = ProjectionHead(config, config.hidden_size)
        if config.ecg_reconstruction_loss_weight > 0:
            self.ecg_decoder = ECGDecoder(config)
        if config.frequency_augmentation:
            self.frequency_augmentation = FrequencyAugmentation(config)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, FrequencyAugmentation):
            init.zeros_(module.logits)

    def get_input_embeddings(self) -> nn.Module:
        return self.ecg_model.get_input_embeddings()

    @torch.no_grad()
    def center_heads(self, batch: dict[str, torch.Tensor]) -> None:
        """See `PreTrainingMixin`."""
        was_training = self.training
        self.eval()
        outputs = self.ecg_model(batch["ecg_values"], batch.get("lead_mask"), batch.get("patch_mask"))
        self.ecg_head.center(outputs.pooler_output)
        self.train(was_training)

    def loss_weights(self) -> dict[str, float]:
        names = ("contrastive", "ecg_reconstruction", "importance")
        return {name: getattr(self.config, f"{name}_loss_weight") for name in names}

    def alignment_losses(
        self, first, second, ecg_statement_ids=None, text_statement_ids=None, parameters=None
    ) -> dict[str, torch.Tensor]:
        """`contrastive`, over the global batch: each view is compared with the other view of every record."""
        return {"contrastive": contrastive_loss(first, second, self.config.temperature)}

    @can_return_tuple
    def forward(
        self,
        ecg_values: torch.Tensor,
        lead_mask: torch.Tensor | None = None,
        patch_mask: torch.Tensor | None = None,
        noise: torch.Tensor | None = None,
        spectrum_noise: torch.Tensor | None = None,
        align: bool = True,
        embeds_only: bool = False,
        **kwargs,
    ) -> CoReECGForPreTrainingOutput:
        """See `PreTrainingMixin`. `noise` is (B, V, 12, N). `spectrum_noise`, (B, V, 12, F) uniform numbers, perturbs
        the spectrum of each view; drawn when None."""
        config, views = self.config, self.config.num_views
        check_ecg_values(ecg_values, config)
        signal = self._views_of(ecg_values)
        if config.frequency_augmentation:
            if spectrum_noise is None:
                shape = (len(ecg_values), *config.noise_shapes["spectrum_noise"])
                spectrum_noise = torch.rand(shape, device=ecg_values.device)
            signal = self.frequency_augmentation(signal, _views_first(spectrum_noise))
        leads, patches = (None if mask is None else self._views_of(mask) for mask in (lead_mask, patch_mask))
        mask_noise = None if noise is None else _views_first(noise)
        ecg = ECGViews(self.ecg_model, True, signal, leads, patches, mask_noise, self.for_encoder(kwargs))
        output = CoReECGForPreTrainingOutput()
        losses: dict[str, torch.Tensor] = {}
        if config.contrasts:
            embeds = F.normalize(self.ecg_head(ecg.encoded(hidden=True).pooler_output).float(), dim=-1)
            output["first_embeds"], output["second_embeds"] = embeds.chunk(views)
            if embeds_only:
                return output
            if align:
                losses.update(self.alignment_losses(output["first_embeds"], output["second_embeds"]))
        assert ecg.masked is not None  # patches of views are always hidden
        output["bool_masked_pos"] = ecg.masked[: len(ecg_values)]
        if config.ecg_reconstruction_loss_weight > 0:
            clean = self._views_of(ecg_values)
            restored = ecg.reconstructed(self.ecg_decoder, clean, config.normalize_patches)
            output["reconstructed_patches"] = restored.patches[: len(ecg_values)]
            losses["ecg_reconstruction"], output["ecg_reconstruction_r2"] = restored.loss, restored.r2
        if config.frequency_augmentation and config.importance_loss_weight > 0:
            losses["importance"] = self.frequency_augmentation.share_loss()
        return self.with_losses(output, losses)

    def _views_of(self, tensor: torch.Tensor) -> torch.Tensor:
        """(B, ...) -> (V * B, ...), all first views first."""
        return tensor.repeat(self.config.num_views, *(1 for _ in tensor.shape[1:]))


def _views_first(noise: torch.Tensor) -> torch.Tensor:
    """(B, V, ...) -> (V * B, ...)"""
    return noise.transpose(0, 1).flatten(0, 1)


class CoReECGForECGClassification(ECGEncoderForClassification):
    """The encoder with a linear classifier on its mean token: for fine-tuning, or frozen for a linear probe."""

    config: CoReECGConfig
    encoder_class = CoReECGModel
    auto_classes: ClassVar = _AUTO_CLASSES
    _keys_to_ignore_on_load_unexpected: ClassVar = _NOT_WANTED
