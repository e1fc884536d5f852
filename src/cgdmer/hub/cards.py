# SPDX-License-Identifier: Apache-2.0
"""Model cards, filled in from a model's folder and its evaluations; anything they do not state is called unknown."""

import math
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData
from safetensors import safe_open

import cgdmer
from cgdmer.evaluation.measures import main_measure
from cgdmer.evaluation.report import (
    IN_DOMAIN,
    INTERVALS,
    calibration_in_words,
    conditions_table,
    markdown_table,
    overall_table,
    overlap_in_words,
    plain,
    with_interval,
)
from cgdmer.evaluation.statistics import FEWEST_POSITIVES
from cgdmer.families import config_of, load_feature_extractor
from cgdmer.hub.results import as_eval_results, command_to_repeat, without_folders
from cgdmer.models.filters import FILTERS
from cgdmer.models.normalization import NORMALIZATIONS
from cgdmer.options import words_of
from cgdmer.training import run_summary
from cgdmer.training.arguments import FinetuningArguments, PretrainingArguments

_PLACES = (Path(__file__).parent / "template.md", Path(__file__).parents[3] / "model_cards" / "template.md")
_UNKNOWN_TRAINING = f"Unknown: the model's folder has no `{run_summary.FILE_NAME}`, which training writes."
_STAGES = {
    "recorded_rate": "at the recording's own rate",
    "model_rate": "after resampling",
    "window": "over each window by itself",
}
_RESAMPLING = {
    "polyphase": "with a polyphase filter",
    "fourier": "by a Fourier transform",
    "linear": "by linear interpolation",
}
_SCORES = {
    "single_label_classification": "a classifier, a softmax over labels that exclude each other",
    "regression": "a regression, which gives values in the units of its training data and no scores",
}
_SHAPE = (
    *("model_type", "num_leads", "num_samples", "sampling_rate", "patch_length", "hidden_size", "num_hidden_layers"),
    *("num_attention_heads", "intermediate_size", "vocab_size", "max_position_embeddings"),
)


def fill_card(
    folder: str | os.PathLike[str],
    repo_id: str,
    results: Sequence[Mapping[str, Any]] = (),
    license: str | None = None,
) -> ModelCard:
    """The card of a model's folder, with the results in its text and, as `model-index`, in its metadata.

    A README.md in the folder was written by hand: its text stays, and only the license and the results are added to
    its metadata.

    Args:
        folder: the model with its processor.
        repo_id: where the model will be published.
        results: see `cgdmer.hub.results.read_results`.
        license: see `cgdmer.hub.publishing.push`.
    """
    source, name = Path(folder), repo_id.split("/")[-1]
    eval_results = as_eval_results(results) or None
    if (source / "README.md").is_file():
        card = ModelCard.load(source / "README.md")
        card.data.license = license or card.data.license
        if eval_results:
            card.data.model_name, card.data.eval_results = name, eval_results
        return card
    config, training = config_of(source), run_summary.of_model(source)
    model_class = getattr(cgdmer, (config.architectures or [""])[0], None)
    takes_texts = "text" in getattr(model_class, "input_modalities", ())
    classifies = "ecg-classification" in getattr(model_class, "pipelines", ())
    fine_tuned = ["fine-tuned"] if classifies else []
    data = ModelCardData(
        language="en",
        library_name="transformers",
        license=license,
        pipeline_tag="zero-shot-classification" if takes_texts else None,
        tags=["ecg", "electrocardiogram", config.hub_tag, *(["zero-shot"] if takes_texts else []), *fine_tuned],
        model_name=name if eval_results else None,
        eval_results=eval_results,
    )
    parts = {
        "model": _model(config, takes_texts, classifies),
        "provenance": _provenance(config),
        "training_data": _training_data(training),
        "preprocessing": _preprocessing(source),
        "configuration": _configuration(source, config),
        "cost": _cost(training),
        "results": _results(results),
        "limits": _limits(training, results),
        "reproduce": _reproduce(training, results, repo_id),
    }
    return ModelCard.from_template(
        data,
        template_path=str(next(place for place in _PLACES if place.is_file())),
        name=name,
        repo_id=repo_id,
        takes_texts=takes_texts,
        classifies=classifies,
        task="zero-shot-ecg-classification" if takes_texts else "ecg-classification" if classifies else None,
        # A name that is not UTF-8, such as that of a folder, is written as `write_text` writes it.
        **{part: text.encode("utf-8", "backslashreplace").decode() for part, text in parts.items()},
    )


def _model(config: Any, takes_texts: bool, classifies: bool) -> str:
    if takes_texts:
        return (
            f"An ECG encoder and a text encoder with a shared embedding space ({config.paper}), so findings can be "
            "scored from their names."
        )
    if not classifies:
        return f"An ECG encoder ({config.paper}), which gives one embedding per recording."
    labels = plain(", ".join(map(str, config.id2label.values())))
    scores = _SCORES.get(config.problem_type, "a classifier, one sigmoid per label")
    return f"A fine-tuned ECG encoder ({config.paper}) with {scores}: {labels}."


def _provenance(config: Any) -> str:
    """What comes from the family's paper and what is ours, if the paper is not public in full."""
    for place in _PLACES:
        note = place.parent / "families" / f"{config.hub_tag}.md"
        if note.is_file():
            return note.read_text(encoding="utf-8").strip()
    return ""


def _stages(training: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """The runs that trained the weights, the last one first; empty if they are unknown."""
    found = []
    while training is not None:
        found.append(training)
        training = training.get("earlier")
    return found


def _training_data(training: Mapping[str, Any] | None) -> str:
    stages = _stages(training)
    if not stages:
        return _UNKNOWN_TRAINING
    parts = [_data_of(stage["data"], stage["options"]) for stage in stages]
    begun = stages[-1]["options"].get("model")
    if begun:
        parts.append(f"Training started from the weights of {plain(begun)}, whose training data are unknown.")
    text_tower = [stage["options"].get("text_model") for stage in stages]
    parts += [f"The text encoder started from the weights of {plain(one)}." for one in text_tower if one]
    parts.append(
        "`training_records.safetensors`, if present, holds fingerprints of the recordings, with which `cgdmer "
        "evaluate` refuses test records that were trained on. It says nothing about patients: other records of the "
        "same people are not found."
    )
    return "\n\n".join(parts)


def _data_of(data: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    source = data.get("source") or {}
    if source:
        version = f", version {source['version']}" if source.get("version") else ""
        corpus = f"{source.get('title', source.get('name', data['name']))}{version}."
    else:
        corpus = data["description"] or "unknown"
    train = "unknown" if data["train_records"] is None else f"{data['train_records']:,}"
    lines = [
        f"- Corpus: {plain(corpus)}",
        f"- Address: {source.get('url') or 'unknown'}",
        f"- License: {plain(source.get('license') or 'unknown')}.",
        f"- Citation: {plain(source.get('citation') or 'unknown')}",
        f"- Training records: {train}; validation records: {data['validation_records']:,}.",
    ]
    if data.get("left_out_records"):
        lines.append(f"- Left out of the training records, because they cannot be used: {data['left_out_records']:,}.")
    texts = {"report": "the records' reports", "statements": "the records' findings as sentences"}
    if options.get("text_source"):
        reworded = ", also reworded" if options.get("wordings") else ""
        lines.append(f"- Texts: {texts[options['text_source']]}{reworded}.")
    if options.get("labels"):
        lines.append(f"- Labels: {plain(', '.join(options['labels']))}.")
    return "\n".join(lines)


def _preprocessing(folder: Path) -> str:
    extractor = load_feature_extractor(folder)
    settings = extractor.to_dict()
    derived = (
        "Missing limb leads are derived from two others; other missing leads get no tokens."
        if extractor.derive_limb_leads
        else "Missing leads get no tokens."
    )
    names = extractor.filter_names
    filters = " and then ".join(FILTERS[name].words for name in names)
    filters = f"{filters}, {_STAGES[extractor.filter_stage]}" if names else "no filter"
    windows = "windows" if extractor.evenly_spaced_windows is None else "evenly spaced windows"
    scale = NORMALIZATIONS[extractor.normalization]
    return (
        "Saved with the weights and applied to every input: leads ordered by name, converted from the stated unit, "
        f"resampled to {extractor.sampling_rate:g} Hz {_RESAMPLING[extractor.resampling]}, "
        f"{extractor.num_samples / extractor.sampling_rate:g} s (the pipelines cut longer recordings into {windows}), "
        f"{filters}, for each {extractor.normalized_part} {scale.words.format(**settings)}. Gaps up to "
        f"{extractor.longest_gap_seconds:g} s are interpolated; recordings shorter than "
        f"{extractor.shortest_seconds:g} s are refused. {derived}"
    )


def _configuration(folder: Path, config: Any) -> str:
    towers = [("ECG encoder", getattr(config, "ecg_config", config))]
    if hasattr(config, "text_config"):
        towers.append(("Text encoder", config.text_config))
    lines = [f"`{(config.architectures or ['unknown'])[0]}`, {_num_weights(folder):,} weights.", ""]
    for name, tower in towers:
        found = [f"{key} {getattr(tower, key)}" for key in _SHAPE if getattr(tower, key, None) is not None]
        lines.append(f"- {name}: {plain(', '.join(found))}.")
    return "\n".join(lines)


def _num_weights(folder: Path) -> int:
    count = 0
    for path in folder.glob("model*.safetensors"):
        with safe_open(path, "np") as file:
            count += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    return count


def _cost(training: Mapping[str, Any] | None) -> str:
    return "\n".join(f"- {_cost_of(stage)}" for stage in _stages(training)) or "Unknown."


def _cost_of(stage: Mapping[str, Any]) -> str:
    resumed = stage["resumed_at_step"]
    since = f" since step {resumed:,}, where the run was resumed; unknown before" if resumed else ""
    versions = ", ".join(f"{name} {version}" for name, version in stage["versions"].items())
    if stage["options"].get("freeze_encoder"):
        return f"A linear layer fitted to features in {stage['seconds'] / 3600:.2f} hours. {versions}."
    return (
        f"{stage['samples']:,} samples in {stage['steps']:,} steps on {stage['processes']} x "
        f"{plain(stage['device'])}, mixed precision: {stage['mixed_precision']}; {stage['seconds'] / 3600:.2f} hours "
        f"without validation and saving{since}. {versions}."
    )


def _results(all_results: Sequence[Mapping[str, Any]]) -> str:
    if not all_results:
        return "Not measured."
    return "\n\n".join(["\n\n".join(_results_of(results)) for results in all_results] + [INTERVALS])


def _unusable(results: Mapping[str, Any]) -> list[str]:
    number, partly = results.get("unusable_records"), results.get("records_with_refused_leads")
    return [
        *([f"Left out of the test records, because the model cannot use them: {number:,}."] if number else []),
        *([f"Test records with leads that are not used (flat, or with long gaps): {partly:,}."] if partly else []),
    ]


def _results_of(results: Mapping[str, Any]) -> list[str]:
    first = next(iter(results["measures"].values()))
    prompts = without_folders(str(results.get("prompts") or "none"))
    parts = [
        f"### {plain(results['task'])}",
        f"{first['records']:,} records of {first['patients']:,} patients ({', '.join(results['splits'])}); "
        f"protocol `{results['protocol']}`; prompts `{prompts}`; feature of linear probes "
        f"`{plain(results.get('probed_feature') or 'none')}`.",
        *_unusable(results),
        *_warnings(results),
        overall_table(results),
    ]
    shown = main_measure(results["measures"])
    by_class = results["measures"][shown]["per_class"]
    rows = [
        [label, f"{row['positives']:,}", with_interval(row, "auroc")]
        for label, row in by_class.items()
        if not row["few_positives"]
    ]
    if rows:
        heads = ["class", "positives", f"AUROC, {shown}"]
        parts += [f"Classes with {FEWEST_POSITIVES} positives or more:", markdown_table(heads, rows)]
    for title, key in (("By sex and age", "groups"), ("With fewer leads, at lower rates, with noise", "robustness")):
        # Where records come from may name a place, which does not concern whoever uses the model.
        families = {name: rows for name, rows in (results.get(key) or {}).items() if name != "source"}
        if any(families.values()):
            parts += [f"{title}:", conditions_table(families)]
    if results.get("calibration"):
        parts.append(calibration_in_words(results["calibration"]))
    return parts


def _warnings(results: Mapping[str, Any]) -> list[str]:
    found = [f"**{IN_DOMAIN}**"] if results["in_domain"] else []
    overlap = results.get("overlap")
    said = overlap_in_words(overlap)
    found.append(f"**{said}**" if overlap and any(overlap.values()) else said)
    if results["protocol"] == "as_published":
        found.append(
            "**The protocol repeats known defects of published evaluations: compare these figures only with theirs.**"
        )
    return found


def _limits(training: Mapping[str, Any] | None, all_results: Sequence[Mapping[str, Any]]) -> str:
    lines = []
    if training is None:
        lines.append("- Its training data are unknown, and so is what it can be tested on.")
    if not any(results.get("groups") for results in all_results):
        lines.append("- It has not been measured by sex and age.")
    if not any(results.get("robustness") for results in all_results):
        lines.append("- It has not been measured with fewer leads, at lower rates, or with noise.")
    if all_results and all(results["in_domain"] for results in all_results):
        lines.append("- It has not been measured on corpora other than its training corpus.")
    return "\n".join(lines)


def _reproduce(training: Mapping[str, Any] | None, all_results: Sequence[Mapping[str, Any]], repo_id: str) -> str:
    commands = [_command_of(stage) for stage in reversed(_stages(training))]
    parts = [] if commands else ["How it was trained is unknown."]
    commands += [command_to_repeat(results["command"], repo_id) for results in all_results]
    if commands:
        parts += ["Only the last part of each dataset's path is shown.", "```\n" + "\n".join(commands) + "\n```"]
    return "\n\n".join(parts)


def _command_of(stage: Mapping[str, Any]) -> str:
    """The command of a run, with the options that differ from their defaults."""
    options = {**stage["options"], "dataset": stage["data"]["name"], "output_dir": "run"}
    if stage.get("command") == run_summary.FINETUNE:
        return shlex.join(["cgdmer", "finetune", *words_of(FinetuningArguments, options)])
    launch = ["accelerate", "launch"]
    if stage["processes"] > 1:
        launch += ["--num_processes", str(stage["processes"])]
    if stage["mixed_precision"] != "no":
        launch += ["--mixed_precision", stage["mixed_precision"]]
    return shlex.join([*launch, "-m", "cgdmer.pretrain", *words_of(PretrainingArguments, options)])
