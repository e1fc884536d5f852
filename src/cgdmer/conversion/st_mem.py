# SPDX-License-Identifier: Apache-2.0
"""ST-MEM: the file of the encoder alone, and the one that also has the decoder, which is dropped."""

import re
from functools import partial

import torch

from cgdmer.conversion.kind import Converted, Kind, ReleasedTensors, Source
from cgdmer.models.configuration_st_mem import STMEMConfig
from cgdmer.models.modeling_st_mem import STMEMModel

_HEAD_SIZE = 64
_RENAMED = {
    r"to_patch_embedding\.1\.(.*)": r"patch_norm.\1",
    r"to_patch_embedding\.2\.(.*)": r"projection.\1",
    r"to_patch_embedding\.3\.(.*)": r"token_norm.\1",
    r"block(\d+)\.attn\.norm\.(.*)": r"layers.\1.attention_norm.\2",
    r"block(\d+)\.attn\.fn\.to_out\.0\.(.*)": r"layers.\1.attention.out_proj.\2",
    r"block(\d+)\.ff\.norm\.(.*)": r"layers.\1.feed_forward_norm.\2",
    r"block(\d+)\.ff\.fn\.net\.0\.(.*)": r"layers.\1.feed_forward.fc1.\2",
    r"block(\d+)\.ff\.fn\.net\.3\.(.*)": r"layers.\1.feed_forward.fc2.\2",
}
# For pretraining; the patch embedding is there a second time.
_DECODER = (
    r"(mask_embedding|decoder_pos_embed)",
    r"(to_decoder_embedding|decoder_blocks|decoder_norm|decoder_head|to_patch_embedding)\..*",
)


def _convert(prefix: str, tensors: ReleasedTensors) -> Converted:
    if prefix:
        tensors.drop(*_DECODER)
    blocks = {found[1] for name in tensors.names(f"{prefix}block") if (found := re.search(r"block(\d+)\.", name))}
    width, patch = tensors.shape(f"{prefix}to_patch_embedding.2.weight")
    patches = tensors.dimension(f"{prefix}pos_embedding", 1) - 2  # two are for separators
    config = STMEMConfig(
        num_samples=patches * patch,
        patch_length=patch,
        hidden_size=width,
        num_hidden_layers=len(blocks),
        num_attention_heads=max(width // _HEAD_SIZE, 1),
        intermediate_size=tensors.dimension(f"{prefix}block0.ff.fn.net.0.weight", 0),
    )
    weights = {
        "position_embedding": tensors.take(f"{prefix}pos_embedding")[0],
        "separator": tensors.take(f"{prefix}sep_embedding"),
        "lead_embedding": torch.stack(
            [tensors.take(f"{prefix}lead_embeddings.{lead}") for lead in range(len(config.leads))]
        ),
    }
    for block in blocks:
        for kind in ("weight", "bias"):
            joint = tensors.take(f"{prefix}block{block}.attn.fn.to_qkv.{kind}")
            for part, one in zip("qkv", joint.chunk(3), strict=True):
                weights[f"layers.{block}.attention.{part}_proj.{kind}"] = one
    weights |= tensors.take_all(prefix, _RENAMED)
    return STMEMModel, config, weights


def _kind(file: str, prefix: str) -> Kind:
    return Kind(
        source=Source(
            name="ST-MEM",
            paper='"Guiding Masked Representation Learning to Capture Spatio-Temporal Relationship of '
            'Electrocardiogram" (ICLR 2024, arXiv 2402.09450)',
            where=f"{file}, linked from the authors' README (Google Drive)",
            license="cc-by-nc-4.0",
            license_note="the weights have none of their own, so never pass them on, converted or not. That of the "
            "code is CC BY-NC 4.0, and VUNO forbids other uses of it without permission. Treat the weights as not for "
            "commercial use",
            corpora="Chapman, Ningbo, and CODE-15 %, by the paper",
            seen=("csn",),
            notes=(
                "The window is 9 s. The answer for a recording of 10 s is the mean over three windows, evenly spaced, "
                "as in the authors' evaluation; each window is filtered by itself.",
                "How the authors resample to 250 Hz is not known; here it is a polyphase filter.",
                "Absent leads are left out of the z-score, of attention, and of the mean.",
            ),
        ),
        convert=partial(_convert, prefix),
        containers=("model",),
        feature_extractor={
            "filter": ["highpass_0.67hz", "lowpass_40hz"],
            "filter_stage": "window",
            "normalization": "zscore_record",
            "evenly_spaced_windows": 3,
        },
    )


KINDS = {
    "st-mem": _kind("st_mem_vit_base_encoder.pth", ""),
    "st-mem-full": _kind("st_mem_vit_base_full.pth", "encoder."),
}
