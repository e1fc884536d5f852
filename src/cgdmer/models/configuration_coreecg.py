# SPDX-License-Identifier: Apache-2.0
"""Configuration of CoRe-ECG (Qin et al., 2026, arXiv 2604.11359), whose full text is not public."""

from .configuration_checks import (
    checked,
    refuse_below_one,
    refuse_to_restore_nothing,
    refuse_unless_fraction,
    refuse_unless_positive,
    refuse_unless_weight,
)
from .configuration_lead_time_encoder import LeadTimeEncoderConfig
from .errors import ConfigurationError


@checked
class CoReECGConfig(LeadTimeEncoderConfig):
    r"""Contrastive learning and reconstruction together, on the signal alone.

    The paper's abstract, or readers of its full text, state: a transformer encoder and decoder; global representations
    of two views are aligned while the decoder restores the signal; spatio-temporal dual masking (0.5 of the time
    columns masked in all leads, and 0.2 of the leads dropped), which breaks linear dependencies between leads;
    frequency dynamic augmentation with a learnable importance map.

    Everything else is ours: the encoder over lead-time tokens and its sizes, the head, InfoNCE and its temperature,
    the weights, the clean signal as the reconstruction target of both views, and the form of the augmentation
    (`FrequencyAugmentation`). A loss weight of 0 switches off that branch and its cost; without contrast there is one
    view. For the other options, see `LeadTimeEncoderConfig`.

    Args:
        mask_strategy, mask_ratio, lead_mask_ratio: `"dual"`, 0.5 and 0.2, as stated. Twelve of 25 columns and two of
            twelve leads are hidden, 57 % of the patches; `"uniform"` with 0.57 hides about as many.
        contrastive_loss_weight, ecg_reconstruction_loss_weight (`float`): for the alignment of the two views and for
            the reconstruction. At least one must be positive.
        temperature (`float`): of the contrastive loss.
        projection_hidden_size, projection_size, projection_dropout: the head on the mean of the visible tokens.
        frequency_augmentation (`bool`): perturb spectrum bins according to their learned importance.
        importance_per_lead (`bool`): one importance map per lead instead of one for all.
        importance_temperature (`float`): of the gates: importance is sigmoid(logit / temperature). At 1, importance
            hardly moves at the learning rate of the other weights; if it is small, the gradients of an encoder that
            has not learned anything yet settle it.
        importance_share (`float`): target mean importance of the bins that may be perturbed.
        importance_loss_weight (`float`): for the squared distance from that share. Large, so that bins compete.
        protected_from_hz, protected_to_hz (`float`): bins in this band are never perturbed. The default is 0.5 to
            40 Hz, where the heart's waves are. The spectrum of the preset `coreecg-tiny` ends at 50 Hz, so it
            protects 0.5 to 20 Hz to leave something to learn.
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
        refuse_unless_weight(
            self, "contrastive_loss_weight", "ecg_reconstruction_loss_weight", "importance_loss_weight"
        )
        refuse_to_restore_nothing(self, self)
        if not self.contrasts and self.ecg_reconstruction_loss_weight == 0:
            raise ConfigurationError(
                "contrastive_loss_weight and ecg_reconstruction_loss_weight are both 0: there is nothing to train on."
            )
        refuse_unless_positive(self, "temperature", "importance_temperature")
        refuse_unless_fraction(self, "projection_dropout")
        if not 0 < self.importance_share < 1:
            raise ConfigurationError(
                f"importance_share is {self.importance_share}; expected more than 0 and less than 1."
            )
        if not 0 <= self.protected_from_hz <= self.protected_to_hz:
            raise ConfigurationError(
                f"protected_from_hz is {self.protected_from_hz} and protected_to_hz {self.protected_to_hz}; expected "
                "0 or more, and no less than that. To protect only the mean, set both to 0."
            )
        if self.frequency_augmentation and all(
            self.protected_from_hz <= number * self.sampling_rate / self.num_samples <= self.protected_to_hz
            for number in range(self.num_bins)
        ):
            raise ConfigurationError(
                f"all bins of the spectrum are protected ({self.protected_from_hz} to {self.protected_to_hz} Hz). "
                "Protect fewer, or set frequency_augmentation to False."
            )

    @property
    def contrasts(self) -> bool:
        """Whether the two views of a record are aligned, with other records' views as negatives."""
        return self.contrastive_loss_weight > 0

    @property
    def num_views(self) -> int:
        return 2 if self.contrasts else 1

    @property
    def num_bins(self) -> int:
        """Bins in a lead's spectrum."""
        return self.num_samples // 2 + 1

    @property
    def noise_shapes(self) -> dict[str, tuple[int, ...]]:
        """For each view, the noise of its mask and of its spectrum."""
        shapes: dict[str, tuple[int, ...]] = {"noise": (self.num_views, self.num_leads, self.num_patches)}
        if self.frequency_augmentation:
            shapes["spectrum_noise"] = (self.num_views, self.num_leads, self.num_bins)
        return shapes
