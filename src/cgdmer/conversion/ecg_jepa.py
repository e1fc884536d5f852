# SPDX-License-Identifier: Apache-2.0
"""ECG-JEPA (Kim): the encoder of its training checkpoint, for either kind of masking."""

from cgdmer.conversion.kind import Converted, Kind, ReleasedTensors, Source
from cgdmer.models.configuration_ecg_jepa import ECGJEPAConfig
from cgdmer.models.modeling_ecg_jepa import ECGJEPAModel

_HEAD_SIZE = 48
_BLOCKS = "encoder_blocks.blocks."
_RENAMED = {
    r"(\d+)\.norm1\.(.*)": r"layers.\1.attention_norm.\2",
    r"(\d+)\.attn\.proj\.(.*)": r"layers.\1.attention.out_proj.\2",
    r"(\d+)\.norm2\.(.*)": r"layers.\1.feed_forward_norm.\2",
    r"(\d+)\.mlp\.(.*)": r"layers.\1.feed_forward.\2",
}


def _convert(tensors: ReleasedTensors) -> Converted:
    blocks = {name.removeprefix(_BLOCKS).split(".")[0] for name in tensors.names(_BLOCKS)}
    width = tensors.dimension("W_P.weight", 0)
    config = ECGJEPAConfig(
        hidden_size=width,
        num_hidden_layers=len(blocks),
        num_attention_heads=max(width // _HEAD_SIZE, 1),
        intermediate_size=tensors.dimension(f"{_BLOCKS}0.mlp.fc1.weight", 0),
    )
    weights = {"position_embedding": tensors.take("pos_embed")}
    for block in blocks:
        joint = tensors.take(f"{_BLOCKS}{block}.attn.qkv.weight")
        for part, weight in zip("qkv", joint.chunk(3), strict=True):
            weights[f"layers.{block}.attention.{part}_proj.weight"] = weight
    weights |= tensors.take_all("W_P.", {"(.+)": r"projection.\1"})
    weights |= tensors.take_all("norm.", {"(.+)": r"norm.\1"})
    weights |= tensors.take_all(_BLOCKS, _RENAMED)
    return ECGJEPAModel, config, weights


KINDS = {
    "ecg-jepa": Kind(
        source=Source(
            name="ECG-JEPA (Kim)",
            paper='"Learning General Representation of 12-Lead Electrocardiogram With a Joint-Embedding Predictive '
            'Architecture" (arXiv 2410.08559)',
            where="multiblock_epoch100.pth, or its sibling with random masking, linked from the authors' repository "
            "(Google Drive)",
            license="mit",
            license_note="MIT for the code, with which the weights are published",
            corpora="CODE-15 % and Chapman-Shaoxing-Ningbo, about 180,000 recordings",
            seen=("csn",),
            notes=(
                "Preprocessing is the authors' for pretraining and linear probes: millivolts, no filter, no "
                "normalization. When they finetune, they filter to 0.67-40 Hz, as `--for_finetuning` does.",
                "Absent leads are left out of attention and of the mean.",
            ),
        ),
        convert=_convert,
        containers=("encoder",),
        feature_extractor={"normalization": "fixed", "fixed_millivolts": 1.0, "resampling": "fourier"},
        for_finetuning={"filter": ["highpass_0.67hz", "lowpass_40hz"]},
    )
}
