# SPDX-License-Identifier: Apache-2.0
"""Configuration of CoRe-ECG (Qin et al., 2026, arXiv 2604.11359), whose full text is not public."""

from huggingface_hub.dataclasses import strict

from .configuration_checks import refuse_below_one, refuse_to_restore_nothing, refuse_unless_positive, refuse_weights
from .configuration_lead_time_encoder import LeadTimeEncoderConfig
from .errors import ConfigurationError


@strict
class CoReECGConfig(LeadTimeEncoderConfig):
    r"""Contrast and reconstruction together, on the signal alone.

    Stated by the paper's abstract, or by readers of its full text: a transformer encoder and decoder; global
    representations of two views are aligned while the decoder restores the signal; spatio-temporal dual masking
    (columns of time masked in all leads, 0.5, and whole leads dropped, 0.2), which breaks linear dependencies between
    leads; frequency dynamic augmentation by a learnable map of importance.

    Ours is everything else: the encoder over lead-time tokens and its sizes, the head, InfoNCE and its temperature,
    the weights, that both views are restored to the clean signal, and the form of the augmentation
    (`FrequencyAugmentation`). Every loss weight of 0 switches its branch and its cost off; without contrast there is
    one view. Options beside these: see `LeadTimeEncoderConfig`.

    Args:
        mask_strategy, mask_ratio, lead_mask_ratio: `"dual"`, 0.5 and 0.2 as stated. Without dual masking, `"uniform"`
            with 0.57 hides about as many patches (57 %): of 25 columns twelve are hidden, and of twelve leads two.
        contrastive_loss_weight, ecg_reconstruction_loss_weight (`float`): of the two views' alignment and of the
            reconstruction. At least one must be positive.
        temperature (`float`): of the contrast.
        projection_hidden_size, projection_size, projection_dropout: the head on the mean of the visible tokens.
        frequency_augmentation (`bool`): perturb bins of the spectrum by their learnt importance.
        importance_per_lead (`bool`): a map of importance for each lead instead of one for all.
        importance_temperature (`float`): of the gates: importance is sigmoid(logit / temperature). With 1 importance
            hardly moves at the learning rate of the other weights; with a small one it is settled by the gradients of
            an encoder that has learnt nothing yet.
        importance_share (`float`): the mean importance that the regulariser asks of the bins that may be perturbed.
        importance_loss_weight (`float`): of the squared distance from that share. Large, so that bins compete.
        protected_from_hz, protected_to_hz (`float`): bins in this band are never perturbed. At first 0.5 to 40 Hz,
            where the waves of the heart are. The preset `coreecg-tiny`, whose spectrum ends at 50 Hz, protects 0.5 to
            20 Hz, so that there is something to learn.
    """

    model_type = "coreecg"
    paper, hub_tag = "CoRe-ECG, arXiv 2604.11359", "core-ecg"
    aligns = False  # there are no texts

    mask_strategy: str = "dual"
    mask_ratio: float | int = 0.5
    lead_mask_ratio: float | int = 0.2
    contrastive_loss_weight: float | int = 1.0
    ecg_reconstruction_loss_weight: float | int = 1.0
    temperature: float | int = 0.1
    projection_hidden_size: int = 256
    projection_size: int = 256
    projection_dropout: float | int = 0.0
    frequency_augmentation: bool = True
    importance_per_lead: bool = False
    importance_temperature: float | int = 0.2
    importance_share: float | int = 0.5
    importance_loss_weight: float | int = 10.0
    protected_from_hz: float | int = 0.5
    protected_to_hz: float | int = 40.0

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        refuse_below_one(self, "projection_hidden_size", "projection_size")
        refuse_weights(self, "contrastive_loss_weight", "ecg_reconstruction_loss_weight", "importance_loss_weight")
        refuse_to_restore_nothing(self, self)
        if not self.contrasts and self.ecg_reconstruction_loss_weight == 0:
            raise ConfigurationError(
                "contrastive_loss_weight and ecg_reconstruction_loss_weight are both 0: there is nothing to train on."
            )
        refuse_unless_positive(self, "temperature", "importance_temperature")
        if not 0 < self.importance_share < 1:
            raise ConfigurationError(
                f"importance_share is {self.importance_share}; expected more than 0, less than 1."
            )
        if not 0 <= self.projection_dropout < 1:
            raise ConfigurationError(
                f"projection_dropout is {self.projection_dropout}; expected at least 0 and less than 1."
            )
        if not 0 <= self.protected_from_hz <= self.protected_to_hz:
            raise ConfigurationError(
                f"protected_from_hz is {self.protected_from_hz} and protected_to_hz {self.protected_to_hz}; expected "
                "0 or more, and no less than that. protected_from_hz=protected_to_hz=0 protects the mean alone."
            )
        if self.frequency_augmentation and not any(
            not self.protected_from_hz <= number * self.sampling_rate / self.num_samples <= self.protected_to_hz
            for number in range(self.num_bins)
        ):
            raise ConfigurationError(
                f"all bins of the spectrum are protected ({self.protected_from_hz} to {self.protected_to_hz} Hz). "
                "Protect fewer, or set frequency_augmentation to False."
            )

    @property
    def contrasts(self) -> bool:
        """Whether two views of each record are aligned, against those of other records."""
        return self.contrastive_loss_weight > 0

    @property
    def num_views(self) -> int:
        return 2 if self.contrasts else 1

    @property
    def num_bins(self) -> int:
        """Bins of the spectrum of a lead."""
        return self.num_samples // 2 + 1

    @property
    def noise_shapes(self) -> dict[str, tuple[int, ...]]:
        """Of each view its mask's noise, and its spectrum's."""
        shapes: dict[str, tuple[int, ...]] = {"noise": (self.num_views, self.num_leads, self.num_patches)}
        if self.frequency_augmentation:
            shapes["spectrum_noise"] = (self.num_views, self.num_leads, self.num_bins)
        return shapes
