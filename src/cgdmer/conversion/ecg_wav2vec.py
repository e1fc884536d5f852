# SPDX-License-Identifier: Apache-2.0
"""ECG-FM: pretrained, and fine-tuned for 17 statements. MELP and D-BETA have the same encoder."""

import re

import torch

from cgdmer.conversion.kind import Convert, Converted, Kind, ReleasedTensors, Source
from cgdmer.models.configuration_ecg_wav2vec import ECGWav2VecConfig
from cgdmer.models.errors import ModelFolderError
from cgdmer.models.modeling_ecg_wav2vec import ECGWav2VecForECGClassification, ECGWav2VecModel

_HEAD_SIZE = 64
ENDS = ("weight", "bias")
_LABELS = (
    "Poor data quality",
    "Sinus rhythm",
    "Premature ventricular contraction",
    "Tachycardia",
    "Ventricular tachycardia",
    "Supraventricular tachycardia with aberrancy",
    "Atrial fibrillation",
    "Atrial flutter",
    "Bradycardia",
    "Accessory pathway conduction",
    "Atrioventricular block",
    "1st degree atrioventricular block",
    "Bifascicular block",
    "Right bundle branch block",
    "Left bundle branch block",
    "Infarction",
    "Electronic pacemaker",
)
# Of a layer, in the file and here.
_OF_LAYER = {
    r"(\d+)\.self_attn\.(.*)": r"\1.attention.\2",
    r"(\d+)\.self_attn_layer_norm\.(.*)": r"\1.attention_norm.\2",
    r"(\d+)\.(fc[12])\.(.*)": r"\1.feed_forward.\2.\3",
    r"(\d+)\.final_layer_norm\.(.*)": r"\1.feed_forward_norm.\2",
}


def _multiplied_out(tensors: ReleasedTensors, prefix: str) -> torch.Tensor:
    """The weights of the position convolution: a direction, and a length for each place in the kernel."""
    older = f"{prefix}weight_g" in tensors
    names = ("weight_g", "weight_v") if older else (f"parametrizations.weight.original{number}" for number in (0, 1))
    length_of, direction_of = (prefix + name for name in names)
    places = tensors.dimension(direction_of, 2)
    if tensors.shape(length_of) != (1, 1, places):
        raise ModelFolderError(
            f"{tensors.where}: {length_of} has shape {tensors.shape(length_of)}; expected {(1, 1, places)}."
        )
    length, direction = tensors.take(length_of).double(), tensors.take(direction_of).double()
    return (direction * (length / direction.norm(dim=(0, 1), keepdim=True))).float()


def encoder_of(tensors: ReleasedTensors, prefix: str) -> tuple[dict[str, int], dict[str, torch.Tensor]]:
    """Options that follow from the shapes, and weights by the encoder's own names."""
    tensors.drop(rf"{re.escape(prefix)}(mask_emb|(quantizer|project_q|final_proj)\..*)")  # for its pretraining
    convolutions = f"{prefix}feature_extractor.conv_layers."
    count = len([name for name in tensors.names(convolutions) if name.endswith(".0.weight")])
    position, layers = f"{prefix}conv_pos.pos_conv.0.", f"{prefix}encoder.layers."
    width = tensors.dimension(f"{prefix}post_extract_proj.weight", 0)
    weights = {f"convolutions.layers.{n}.weight": tensors.take(f"{convolutions}{n}.0.weight") for n in range(count)}
    weights["positions.convolution.weight"] = _multiplied_out(tensors, position)
    options = {
        "conv_layers": count,
        "conv_channels": tensors.dimension(f"{prefix}post_extract_proj.weight", 1),
        "token_size": width,
        "num_hidden_layers": len([name for name in tensors.names(layers) if name.endswith(".fc1.weight")]),
        "num_attention_heads": width // _HEAD_SIZE,
        "intermediate_size": tensors.dimension(f"{layers}0.fc1.weight", 0),
        "position_kernel": weights["positions.convolution.weight"].shape[2],
        "position_groups": width // max(1, weights["positions.convolution.weight"].shape[1]),
    }
    weights |= {f"layers.{name}": tensor for name, tensor in tensors.take_all(layers, _OF_LAYER).items()}
    weights["positions.convolution.bias"] = tensors.take(f"{position}bias")
    for own, released in (
        ("convolutions.norm", "feature_extractor.conv_layers.0.2"),
        ("channel_norm", "layer_norm"),
        ("projection", "post_extract_proj"),
        ("token_norm", "encoder.layer_norm"),
    ):
        weights |= {f"{own}.{end}": tensors.take(f"{prefix}{released}.{end}") for end in ENDS}
    return options, weights


def _ecg_fm(tensors: ReleasedTensors) -> Converted:
    options, weights = encoder_of(tensors, "")
    return ECGWav2VecModel, ECGWav2VecConfig(num_samples=2500, **options), weights


def _ecg_fm_finetuned(tensors: ReleasedTensors) -> Converted:
    options, found = encoder_of(tensors, "encoder.")
    config = ECGWav2VecConfig(
        num_samples=2500,
        id2label=dict(enumerate(_LABELS)),
        label2id={label: number for number, label in enumerate(_LABELS)},
        problem_type="multi_label_classification",
        **options,
    )
    weights = {f"ecg_model.{name}": tensor for name, tensor in found.items()}
    weights |= {f"classifier.{end}": tensors.take(f"proj.{end}") for end in ENDS}
    return ECGWav2VecForECGClassification, config, weights


WEIGHT_NORM = "The weight normalization of the convolution that gives positions is multiplied out."


def _ecg_fm_kind(what: str, file: str, convert: Convert, corpora: str, notes: tuple[str, ...]) -> Kind:
    return Kind(
        Source(
            name=f"ECG-FM, {what}",
            paper='"ECG-FM: an open electrocardiogram foundation model" (JAMIA Open 2025, arXiv 2408.05178)',
            where=f"{file} of wanglab/ecg-fm on the Hugging Face Hub",
            license="mit",
            license_note="MIT, for code and weights",
            corpora=corpora,
            seen=("cpsc2018", "csn", "mimic-iv-ecg", "ptb-xl"),
            notes=(
                "It takes 5 s. Each lead of the whole record is scaled before it is cut into segments.",
                WEIGHT_NORM,
                *notes,
            ),
        ),
        convert,
        hub_file=file,
        containers=("model",),
        feature_extractor={"resampling": "linear", "normalization": "zscore_lead", "normalized_part": "recording"},
    )


_ECG_FM_CORPORA = (
    "MIMIC-IV-ECG 1.0 and the PhysioNet/CinC Challenge 2021 (PTB-XL, PTB, CPSC2018 and its extra records, INCART, "
    "Georgia, Chapman-Shaoxing, Ningbo), signals alone"
)

KINDS = {
    "ecg-fm": _ecg_fm_kind("pretrained", "mimic_iv_ecg_physionet_pretrained.pt", _ecg_fm, _ECG_FM_CORPORA, notes=()),
    "ecg-fm-finetuned": _ecg_fm_kind(
        "fine-tuned for 17 statements",
        "mimic_iv_ecg_finetuned.pt",
        _ecg_fm_finetuned,
        f"{_ECG_FM_CORPORA}; fine-tuned on MIMIC-IV-ECG with labels taken from its machine reports",
        notes=(
            "For a record of several segments, the authors take the highest score of a segment for poor data quality, "
            "premature ventricular contraction, ventricular tachycardia, supraventricular tachycardia with aberrancy, "
            "and electronic pacemaker, and the mean for the other labels. Here, it is the mean for all.",
        ),
    ),
}
