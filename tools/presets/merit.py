# SPDX-License-Identifier: Apache-2.0
from small_models import small_ecg_options, small_text_options
from transformers import PreTrainedTokenizerFast

from cgdmer import MERITConfig
from presets import Presets


def presets(tokenizer: PreTrainedTokenizerFast) -> Presets:
    tiny = MERITConfig(
        ecg_config=small_ecg_options(128, 4, 4) | {"mask_ratio": 0.7},
        ecg_reconstruction_loss_weight=0.02,  # as in cgdmer-tiny
        **small_text_options(tokenizer, 128, 4),
    )
    yield "merit-tiny", tiny, tokenizer
    yield "merit-base", MERITConfig(text_model_name="ncbi/MedCPT-Query-Encoder"), None
