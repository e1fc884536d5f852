# SPDX-License-Identifier: Apache-2.0
from small_models import small_ecg_options
from transformers import PreTrainedTokenizerFast

from cgdmer import CoReECGConfig
from presets import Presets


def presets(tokenizer: PreTrainedTokenizerFast) -> Presets:
    """This family has no texts, so it needs no tokenizer."""
    tiny = CoReECGConfig(
        **small_ecg_options(128, 4, 4),
        projection_hidden_size=128,
        projection_size=128,
        # At 100 Hz the spectrum ends at 50 Hz. With 0.5 to 40 Hz protected, little would be left to learn.
        protected_to_hz=20.0,
    )
    yield "coreecg-tiny", tiny, None
    yield "coreecg-base", CoReECGConfig(), None
