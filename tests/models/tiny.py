# SPDX-License-Identifier: Apache-2.0
"""The smallest models and batches that have every part: 12 leads x 8 patches, 16 wide, reports of 12 tokens."""

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, PreTrainedModel, PreTrainedTokenizerFast

from cgdmer import (
    CGDMERConfig,
    CGDMERECGConfig,
    ECGFeatureExtractor,
    ECGProcessor,
    ECGResNetConfig,
    ECGViTConfig,
)

NUM_LEADS, NUM_PATCHES, PATCH_LENGTH = 12, 8, 8
NUM_SAMPLES = NUM_PATCHES * PATCH_LENGTH
VOCABULARY = 40
PAD, UNKNOWN, CLS, SEP, MASK = range(5)

WORDS = ["atrial", "fibrillation", "sinus", "rhythm", "normal", "ecg", "left", "bundle", "branch", "block"]

# The rows of the paper's Table 3, each with one more loss than the one before.
LOSSES = ("contrastive", "ecg_reconstruction", "text_reconstruction", "orthogonality", "siglip")
TABLE_3 = [LOSSES[:count] for count in range(1, len(LOSSES) + 1)]


def only_losses(*names: str) -> dict[str, float]:
    """Options that switch off all other losses."""
    return {f"{name}_loss_weight": 1.0 if name in names else 0.0 for name in LOSSES}


def tiny_ecg_options(**overrides) -> dict:
    options = {
        "sampling_rate": 32,
        "num_samples": NUM_SAMPLES,
        "patch_length": PATCH_LENGTH,
        "tokenizer_channels": 4,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "hidden_dropout": 0.0,
        "attention_dropout": 0.0,
        "mask_ratio": 0.5,
        "decoder_hidden_size": 8,
        "decoder_num_hidden_layers": 1,
        "decoder_num_attention_heads": 2,
        "decoder_intermediate_size": 16,
        "decoder_share": 1.0,
    }
    return options | overrides


def tiny_ecg_config(**overrides) -> CGDMERECGConfig:
    return CGDMERECGConfig(**tiny_ecg_options(**overrides))


def tiny_text_config(**overrides) -> BertConfig:
    options = {
        "vocab_size": VOCABULARY,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 32,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    return BertConfig(**options | overrides)


def tiny_config(**overrides) -> CGDMERConfig:
    """A complete configuration; `ecg_config` takes options of the ECG branch, all others go to `CGDMERConfig`."""
    ecg_options = overrides.pop("ecg_config", {})
    options = {
        "text_config": tiny_text_config(),
        "mask_token_id": MASK,
        "text_decoder_num_hidden_layers": 1,
        "projection_hidden_size": 12,
        "projection_size": 6,
    }
    return CGDMERConfig(ecg_config=tiny_ecg_options(**ecg_options), **options | overrides)


def tiny_vit_config(**overrides) -> ECGViTConfig:
    wanted = ("sampling_rate", "num_samples", "patch_length", "hidden_size", "num_hidden_layers")
    wanted += ("num_attention_heads", "intermediate_size", "hidden_dropout", "attention_dropout")
    options = tiny_ecg_options()
    return ECGViTConfig(**{name: options[name] for name in wanted} | overrides)


def tiny_resnet_config(**overrides) -> ECGResNetConfig:
    options = {"sampling_rate": 32, "num_samples": NUM_SAMPLES, "patch_length": PATCH_LENGTH, "hidden_size": 16}
    return ECGResNetConfig(**options | overrides)


def tiny_config_with(ecg_config: ECGViTConfig | ECGResNetConfig, **overrides) -> CGDMERConfig:
    """A complete configuration with an encoder that cannot hide patches."""
    options = tiny_config().to_dict() | {"ecg_config": ecg_config, "contrast_view": "full"}
    return CGDMERConfig(**options | {"ecg_reconstruction_loss_weight": 0.0} | overrides)


def tiny_ecg(records: int = 4, seed: int = 0) -> torch.Tensor:
    """(records, 12, samples)"""
    return torch.randn(records, NUM_LEADS, NUM_SAMPLES, generator=torch.Generator().manual_seed(seed))


def tiny_reports(records: int = 4, seed: int = 0) -> dict[str, torch.Tensor]:
    """Tokenized reports of different lengths: [CLS] words [SEP] padding."""
    generator = torch.Generator().manual_seed(seed)
    length = 12
    ids = torch.randint(MASK + 1, VOCABULARY, (records, length), generator=generator)
    attention = torch.ones(records, length, dtype=torch.int64)
    special = torch.zeros(records, length, dtype=torch.int64)
    for row in range(records):
        end = length - 1 - 2 * (row % 4)
        ids[row, 0], ids[row, end], ids[row, end + 1 :] = CLS, SEP, PAD
        attention[row, end + 1 :] = 0
        special[row, 0], special[row, end:] = 1, 1
    return {"input_ids": ids, "attention_mask": attention, "special_tokens_mask": special}


def tiny_batch(records: int = 4, seed: int = 0) -> dict[str, torch.Tensor]:
    """Signals, reports, and the noise that determines both masks."""
    generator = torch.Generator().manual_seed(seed + 1)
    reports = tiny_reports(records, seed)
    return {
        "ecg_values": tiny_ecg(records, seed),
        **reports,
        "noise": torch.rand(records, NUM_LEADS, NUM_PATCHES, generator=generator),
        "text_noise": torch.rand(reports["input_ids"].shape, generator=generator),
    }


@torch.no_grad()
def spread(model: PreTrainedModel) -> PreTrainedModel:
    """The model in evaluation mode, with its parameters moved at random so that every part matters."""
    for parameter in model.parameters():
        parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def some_masks() -> dict[str, torch.Tensor]:
    """For four records: the first is complete, the others lack leads, the end of the recording, or both."""
    lead_mask = torch.ones(4, NUM_LEADS, dtype=torch.int64)
    patch_mask = torch.ones(4, NUM_PATCHES, dtype=torch.int64)
    lead_mask[1, 2:], lead_mask[3, ::2] = 0, 0
    patch_mask[2, 5:], patch_mask[3, 3:] = 0, 0
    return {"lead_mask": lead_mask, "patch_mask": patch_mask}


def present_patches(lead_mask=None, patch_mask=None) -> torch.Tensor:
    """(4, 12, patches) bool"""
    leads = torch.ones(4, NUM_LEADS) if lead_mask is None else lead_mask
    patches = torch.ones(4, NUM_PATCHES) if patch_mask is None else patch_mask
    return leads.bool()[:, :, None] & patches.bool()[:, None, :]


def tiny_processor() -> ECGProcessor:
    """A whole-word tokenizer and a feature extractor for `tiny_config`."""
    vocabulary = {piece: number for number, piece in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", SEP), ("[CLS]", CLS))
    return ECGProcessor(
        ECGFeatureExtractor(sampling_rate=32, num_samples=NUM_SAMPLES, patch_length=PATCH_LENGTH),
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            model_max_length=32,
            pad_token="[PAD]",
            unk_token="[UNK]",
            cls_token="[CLS]",
            sep_token="[SEP]",
            mask_token="[MASK]",
            model_input_names=["input_ids", "attention_mask"],
        ),
    )
