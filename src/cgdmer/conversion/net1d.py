# SPDX-License-Identifier: Apache-2.0
"""ECGFounder (12 leads, one lead) and CLEF (three sizes), which share one network."""

import re
from importlib.resources import files

import torch

from cgdmer.conversion.kind import Converted, Kind, ReleasedTensors, Source
from cgdmer.models.configuration_net1d import Net1DConfig
from cgdmer.models.leads import STANDARD_LEADS
from cgdmer.models.modeling_net1d import Net1DForECGClassification, Net1DModel

_BLOCK = r"stage_list\.(\d+)\.block_list\.(\d+)\."
# All released models were built without batch normalization, whose tensors are in the files all the same.
_UNUSED = r"(.*\.)?(first_bn|bn[123])\.(weight|bias|running_mean|running_var|num_batches_tracked)"
_RENAMED = {"se_fc1": "squeeze", "se_fc2": "excite", **{f"conv{n}.conv": f"conv{n}" for n in (1, 2, 3)}}


def _network(tensors: ReleasedTensors, prefix: str) -> tuple[Net1DConfig, dict[str, torch.Tensor]]:
    """The configuration and the encoder's weights, which sizes decide: the group size is the middle kernel's."""
    tensors.drop(_UNUSED)
    sizes: list[int] = []
    blocks: list[int] = []
    for name in tensors.names(f"{prefix}stage_list."):
        found = re.fullmatch(rf"{re.escape(prefix)}{_BLOCK}conv3\.conv\.weight", name)
        if found and int(found[1]) == len(sizes):
            sizes.append(tensors.dimension(name, 0))
            blocks.append(0)
        if found:
            blocks[-1] += 1
    first = f"{prefix}stage_list.0.block_list.0."
    inner = tensors.dimension(f"{first}conv2.conv.weight", 0)
    groups = inner // tensors.dimension(f"{first}conv2.conv.weight", 1)
    leads = tensors.dimension(f"{prefix}first_conv.conv.weight", 1)
    config = Net1DConfig(
        lead_order=None if leads == len(STANDARD_LEADS) else ["I"],
        stem_channels=tensors.dimension(f"{prefix}first_conv.conv.weight", 0),
        hidden_channels=sizes,
        stage_blocks=blocks,
        kernel_size=tensors.dimension(f"{prefix}first_conv.conv.weight", 2),
        width_ratio=inner / sizes[0],
        group_size=sizes[0] // groups,
    )
    weights = {f"stem.{end}": tensors.take(f"{prefix}first_conv.conv.{end}") for end in ("weight", "bias")}
    for stage, count in enumerate(blocks):
        for block in range(count):
            number = sum(blocks[:stage]) + block
            for name, tensor in tensors.take_all(f"{prefix}stage_list.{stage}.block_list.{block}.").items():
                part, end = name.rsplit(".", 1)
                weights[f"layers.{number}.{_RENAMED.get(part, part)}.{end}"] = tensor
    return config, weights


def _ecgfounder(tensors: ReleasedTensors) -> Converted:
    config, weights = _network(tensors, "")
    labels = files("cgdmer.conversion").joinpath("ecgfounder_labels.txt").read_text(encoding="utf-8").splitlines()
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: number for number, label in enumerate(labels)}
    config.problem_type = "multi_label_classification"
    weights = {f"ecg_model.{name}": tensor for name, tensor in weights.items()}
    weights |= {f"classifier.{end}": tensors.take(f"dense.{end}") for end in ("weight", "bias")}
    return Net1DForECGClassification, config, weights


def _clef(tensors: ReleasedTensors) -> Converted:
    config, weights = _network(tensors, "backbone.")
    return Net1DModel, config, weights


_FILTERS = ["notch_50hz", "bandpass_0.67_40hz_order4", "median_baseline"]


def _ecgfounder_kind(leads: str, file: str, notes: tuple[str, ...]) -> Kind:
    return Kind(
        Source(
            name=f"ECGFounder, {leads}",
            paper='"An Electrocardiogram Foundation Model Built on over 10 Million Recordings" (NEJM AI 2025, '
            "arXiv 2410.04133)",
            where=f"{file} of PKUDigitalHealth/ECGFounder on the Hugging Face Hub",
            license="mit",
            license_note="MIT, for code and weights",
            corpora="the Harvard-Emory ECG Database, over 10 million ECGs with 150 statements of their reports",
            notes=(
                "The authors use two recipes: z-scores alone in their evaluation of the 150 labels; and when they "
                "finetune (`--for_finetuning`), z-scores after a 50 Hz notch, a band-pass, and a running median taken "
                "off each lead. They do not say which of them the weights need.",
                "Many of the 150 labels compare with an earlier ECG or only qualify another label: one ECG cannot "
                "show them.",
                *notes,
            ),
        ),
        _ecgfounder,
        hub_file=file,
        containers=("state_dict",),
        feature_extractor={"normalization": "zscore_record" if leads == "12 leads" else "zscore_lead"},
        for_finetuning={"filter": _FILTERS, "filter_stage": "model_rate"},
    )


def _clef_kind(size: str, file: str) -> Kind:
    return Kind(
        Source(
            name=f"CLEF, {size}",
            paper='"CLEF: Clinically-Guided Contrastive Learning for Electrocardiogram Foundation Models" '
            "(arXiv 2512.02180)",
            where=f"{file} of Zenodo record 17572734",
            license="bsd-3-clause-clear",
            license_note="BSD-3-Clause-Clear, which grants no patents, for code and, by the record on Zenodo, weights",
            corpora="MIMIC-IV-ECG, each of the twelve leads by itself",
            seen=("mimic-iv-ecg",),
            notes=("It takes one lead: lead I, as here, or any other, with another `lead_order` in config.json.",),
        ),
        _clef,
        containers=("state_dict",),
        feature_extractor={"filter": "bandpass_0.67_40hz", "normalization": "zscore_lead"},
    )


KINDS = {
    "ecgfounder-12lead": _ecgfounder_kind("12 leads", "12_lead_ECGFounder.pth", ()),
    "ecgfounder-1lead": _ecgfounder_kind("one lead", "1_lead_ECGFounder.pth", ("It takes lead I alone.",)),
    "clef-small": _clef_kind("small", "clef_small.ckpt"),
    "clef-medium": _clef_kind("medium", "clef_medium.ckpt"),
    "clef-large": _clef_kind("large", "clef_largel.ckpt"),
}
