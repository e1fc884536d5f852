# SPDX-License-Identifier: Apache-2.0
"""MERL: both encoders, alone and with the text tower."""

import torch

from cgdmer.conversion.bert import bert_of
from cgdmer.conversion.kind import MIMIC_LEADS, Convert, Converted, Kind, ReleasedTensors, Source
from cgdmer.models.configuration_ecg_encoders import ECGResNetConfig, ECGViTConfig
from cgdmer.models.configuration_merl import MERLConfig
from cgdmer.models.errors import ModelFolderError
from cgdmer.models.modeling_ecg_encoders import ECGResNetModel, ECGViTModel
from cgdmer.models.modeling_merl import MERLModel

_HEAD_SIZE = 64
_TOKENIZER = "ncbi/MedCPT-Query-Encoder"
_TEMPERATURE = 0.07  # of the loss that aligned the towers; cosines are all that the authors evaluate


def _resnet(tensors: ReleasedTensors, prefix: str) -> tuple[ECGResNetConfig, dict[str, torch.Tensor]]:
    tensors.drop(rf"{prefix}linear\.(weight|bias)")  # of the class that it was built from
    weights: dict[str, torch.Tensor] = {}
    for number in range(2):
        part, name = ("conv1", "bn1")[number], f"stem.{number}."
        weights |= {name + end: tensor for end, tensor in tensors.take_all(f"{prefix}{part}.").items()}
    stages = sorted({name.removeprefix(prefix).split(".")[0] for name in tensors.names(f"{prefix}layer")})
    blocks = {
        int(name.split(".")[-3])
        for stage in stages
        for name in tensors.names(f"{prefix}{stage}.")
        if name.endswith("conv1.weight")
    }
    config = ECGResNetConfig(
        lead_order=MIMIC_LEADS,
        hidden_size=tensors.dimension(f"{prefix}layer4.0.conv1.weight", 0),
        blocks_per_stage=len(blocks),
        patch_length=50,
    )
    for stage in range(4):
        for block in range(len(blocks)):
            of_block = tensors.take_all(f"{prefix}layer{stage + 1}.{block}.", {r"bn(\d)\.(.*)": r"norm\1.\2"})
            weights |= {f"layers.{stage * len(blocks) + block}.{name}": tensor for name, tensor in of_block.items()}
    return config, weights


_OF_LAYER = {
    "attn.norm": "attention_norm",
    "attn.fn.to_out.0": "attention.out_proj",
    "ff.norm": "feed_forward_norm",
    "ff.fn.net.0": "feed_forward.fc1",
    "ff.fn.net.3": "feed_forward.fc2",
}


def _vit(tensors: ReleasedTensors, prefix: str) -> tuple[ECGViTConfig, dict[str, torch.Tensor]]:
    width, num_leads, patch_length = tensors.shape(f"{prefix}to_patch_embedding.weight")
    num_patches = tensors.dimension(f"{prefix}pos_embedding", 1)
    layers = len([name for name in tensors.names(f"{prefix}block") if name.endswith("to_qkv.weight")])
    if num_leads != len(MIMIC_LEADS):
        raise ModelFolderError(f"{tensors.where}: the encoder takes {num_leads} leads; expected {len(MIMIC_LEADS)}.")
    config = ECGViTConfig(
        lead_order=MIMIC_LEADS,
        num_samples=num_patches * patch_length,
        patch_length=patch_length,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=max(1, width // _HEAD_SIZE),
        intermediate_size=tensors.dimension(f"{prefix}block0.ff.fn.net.0.weight", 0),
        layer_norm_eps=1e-5,
        pool_before_norm=True,
    )
    weights = {
        "projection.weight": tensors.take(f"{prefix}to_patch_embedding.weight").flatten(1),
        "projection.bias": torch.zeros(width),  # the released encoder has none
        "time_embedding": tensors.take(f"{prefix}pos_embedding")[0],
        **{f"norm.{end}": tensors.take(f"{prefix}norm.{end}") for end in ("weight", "bias")},
    }
    for number in range(layers):
        for end in ("weight", "bias"):
            joined = tensors.take(f"{prefix}block{number}.attn.fn.to_qkv.{end}")
            for part, of_part in zip("qkv", joined.chunk(3), strict=True):
                weights[f"layers.{number}.attention.{part}_proj.{end}"] = of_part
        for name, tensor in tensors.take_all(f"{prefix}block{number}.").items():
            part, end = name.rsplit(".", 1)
            weights[f"layers.{number}.{_OF_LAYER.get(part, part)}.{end}"] = tensor
    return config, weights


def _heads_of_frames(tensors: ReleasedTensors) -> dict[str, torch.Tensor]:
    renamed = {"positional_embedding": "positions", "cls_token": "query", r"mhsa\.(.*)": r"attention.\1"}
    found = tensors.take_all("att_pool_head.", {**renamed, r"c_proj\.(.*)": r"out.\1"})
    found["down.weight"] = tensors.take("downconv.weight")[..., 0]
    return found | {"down.bias": tensors.take("downconv.bias")}


def _resnet_alone(tensors: ReleasedTensors) -> Converted:
    config, weights = _resnet(tensors, "")
    return ECGResNetModel, config, weights


def _vit_alone(tensors: ReleasedTensors) -> Converted:
    config, weights = _vit(tensors, "")
    return ECGViTModel, config, weights


def _with_text(tensors: ReleasedTensors) -> Converted:
    tensors.drop(r"linear[12]\.weight")  # of a loss
    parts: dict[str, dict[str, torch.Tensor]] = {}
    ecg_config: ECGResNetConfig | ECGViTConfig
    if "downconv.weight" in tensors:
        ecg_config, parts["ecg_model"] = _resnet(tensors, "ecg_encoder.")
        parts["ecg_head"] = _heads_of_frames(tensors)
    else:
        ecg_config, parts["ecg_model"] = _vit(tensors, "ecg_encoder.")
        parts["ecg_head"] = tensors.take_all("proj_e.")
    text_config, parts["text_model"] = bert_of(tensors, "lm_model.")
    config = MERLConfig(
        ecg_config=ecg_config,
        text_config=text_config,
        text_model_name=_TOKENIZER,
        projection_size=tensors.dimension("proj_t.0.weight", 0),
        score_scale=1 / _TEMPERATURE,
    )
    parts["text_head"] = tensors.take_all("proj_t.")
    return MERLModel, config, {f"{part}.{name}": one for part, found in parts.items() for name, one in found.items()}


def _kind(encoder: str, file: str, with_text: bool, alone: Convert) -> Kind:
    what = f"{encoder} with its text tower" if with_text else f"{encoder} encoder"
    notes: tuple[str, ...] = (
        "The authors chose the released epoch by the zero-shot AUROC on validation splits of PTB-XL, CPSC2018, and "
        "CSN: zero-shot results on these corpora are a little optimistic.",
        "In pretraining, the authors stored signals with three decimals after scaling; here they are not rounded.",
    )
    if with_text:
        notes += (
            "Scores are the sigmoid of cosines divided by the temperature of training, without calibration: they "
            "rank records, but are no probabilities.",
        )
    return Kind(
        Source(
            name=f"MERL, {what}",
            paper='"Zero-Shot ECG Classification with Multimodal Learning and Test-time Clinical Knowledge '
            'Enhancement" (ICML 2024, arXiv 2403.06659)',
            where=f"{file} in the folder on Google Drive that the authors' repository links",
            license="mit",
            license_note="MIT for the code; the weights were published with it, without a license of their own",
            corpora="MIMIC-IV-ECG 1.0 with its machine reports, 771,693 records",
            seen=("mimic-iv-ecg",),
            notes=notes,
        ),
        _with_text if with_text else alone,
        feature_extractor={"normalization": "minmax_record"},
        tokenizer=_TOKENIZER if with_text else None,
    )


KINDS = {
    "merl-resnet18": _kind("ResNet-18", "res18_best_ckpt.pth", True, _resnet_alone),
    "merl-resnet18-encoder": _kind("ResNet-18", "res18_best_encoder.pth", False, _resnet_alone),
    "merl-vit-tiny": _kind("ViT-tiny", "vit_tiny_best_ckpt.pth", True, _vit_alone),
    "merl-vit-tiny-encoder": _kind("ViT-tiny", "vit_tiny_best_encoder.pth", False, _vit_alone),
}
