# SPDX-License-Identifier: Apache-2.0
"""Configuration of Net1D, the grouped residual network of ECGFounder and CLEF."""

from .configuration_all_leads import AllLeadsConfig
from .configuration_checks import checked, refuse_below_one, refuse_unless_positive
from .errors import ConfigurationError, shown

_MOST_BLOCKS = 1000


@checked
class Net1DConfig(AllLeadsConfig):
    r"""A residual network of grouped convolutions with squeeze and excitation, along time with the leads as channels.

    The defaults are ECGFounder's with 12 leads (Li et al., NEJM AI 2025, arXiv 2410.04133).

    Args:
        sampling_rate, num_samples, patch_length, lead_order: see `AllLeadsConfig`. The network has no patches.
        stem_channels (`int`): channels after the first convolution.
        hidden_channels (`list[int]`): channels of each stage; each halves the length.
        stage_blocks (`list[int]`): residual blocks of each stage.
        kernel_size (`int`): of the first convolution, and of the middle one of a block.
        width_ratio (`float`): channels inside a block, as a share of the stage's.
        group_size (`int`): the middle convolution of a block has as many groups as this goes into the stage's
            channels.
    """

    model_type = "net1d"
    paper, hub_tag = "the network of ECGFounder, arXiv 2410.04133, and CLEF, arXiv 2512.02180", "ecgfounder"

    stem_channels: int = 64
    hidden_channels: list[int] | None = None
    stage_blocks: list[int] | None = None
    kernel_size: int = 16
    width_ratio: float | int = 1.0
    group_size: int = 16

    def __post_init__(self, **kwargs):
        self.hidden_channels = self.hidden_channels or [64, 160, 160, 400, 400, 1024, 1024]
        self.stage_blocks = self.stage_blocks or [2, 2, 2, 3, 3, 4, 4]
        super().__post_init__(**kwargs)
        refuse_below_one(self, "stem_channels", "kernel_size", "group_size")
        refuse_unless_positive(self, "width_ratio")
        for name in ("hidden_channels", "stage_blocks"):
            values = getattr(self, name)
            if not all(isinstance(value, int) and value >= 1 for value in values):
                raise ConfigurationError(f"{name} is {shown(values)}; expected whole numbers of at least 1.")
        if len(self.hidden_channels) != len(self.stage_blocks) or sum(self.stage_blocks) > _MOST_BLOCKS:
            raise ConfigurationError(
                f"hidden_channels is {shown(self.hidden_channels)}, and stage_blocks {shown(self.stage_blocks)}; "
                f"expected an entry of both for each stage, and at most {_MOST_BLOCKS} blocks."
            )
        widths = [self.stem_channels, *self.hidden_channels]
        for before, width in zip(widths, self.hidden_channels, strict=False):
            inner = width * self.width_ratio
            if width % self.group_size or inner % (width // self.group_size) or width < before:
                raise ConfigurationError(
                    f"a stage has {width} channels after {before}; expected no fewer, a multiple of group_size "
                    f"({self.group_size}), and groups that divide the inner width ({inner:g})."
                )

    @property
    def hidden_size(self) -> int:
        """Width of the feature."""
        assert self.hidden_channels is not None
        return self.hidden_channels[-1]
