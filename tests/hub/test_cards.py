# SPDX-License-Identifier: Apache-2.0
"""Cards are filled in from what training and evaluation wrote, and say nothing else."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries
from huggingface_hub.repocard import metadata_load
from tiny_hub_model import TINY_ECG, save_model, tiny_config
from transformers import AutoConfig, AutoFeatureExtractor

from cgdmer import CGDMERECGConfig, CGDMERForECGClassification, ECGFeatureExtractor
from cgdmer.commands import main
from cgdmer.corpora.ptbxl import PTBXL
from cgdmer.data.fingerprints import PATIENTS_FILE, TrainingPatients
from cgdmer.data.storage import load_dataset_folder, split_of_fold
from cgdmer.data.writing import write_dataset
from cgdmer.hub.cards import fill_card
from cgdmer.hub.publishing import push
from cgdmer.hub.results import command_to_repeat, read_results, write_benchmark_results
from cgdmer.models.errors import CorpusError, ModelFolderError, PublishingError
from cgdmer.presets import preset_folder
from cgdmer.pretrain import parse_arguments
from cgdmer.simulation.cohort import simulate_cohort
from cgdmer.training import run_summary
from cgdmer.training.loop import pretrain_model

REPOSITORY = "lab/tiny-ecg"
ABSENT = object()
TEMPLATE = Path(__file__).parents[2] / "model_cards" / "template.md"
# In the sentences around the values: the number of the paper, 95 % intervals, the license of the code.
OF_THE_SENTENCES = {"2602.21154", "95", "2.0", "10", "1", "0"}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, Path]:
    """A dataset that says it is PTB-XL, a model pretrained on it for two steps, and its evaluation."""
    folder = tmp_path_factory.mktemp("made")
    write_dataset(
        simulate_cohort(60, seed=3, sampling_rate=100),
        folder / "ecgs",
        splits=split_of_fold,
        description="Simulated patients.",
    )
    summary = json.loads((folder / "ecgs" / "summary.json").read_text())
    summary["source"] = vars(PTBXL.source)
    (folder / "ecgs" / "summary.json").write_text(json.dumps(summary))
    shutil.copytree(preset_folder("cgdmer-tiny"), folder / "preset", ignore=shutil.ignore_patterns("config.json"))
    tiny_config().save_pretrained(folder / "preset")
    options = ["--config_name", str(folder / "preset"), "--dataset", str(folder / "ecgs"), "--report_to", "none"]
    options += ["--output_dir", str(folder / "run"), "--max_train_steps", "2", "--per_device_train_batch_size", "8"]
    pretrain_model(parse_arguments([*options, "--text_source", "statements", "--noise", "0.02"]))
    asked = ["evaluate", str(folder / "run"), "--dataset", str(folder / "ecgs"), "--tasks", "simulated"]
    asked += ["--skip_linear_probe", "--output_dir", str(folder / "results"), "--splits", "validation", "test"]
    assert main(asked) == 0
    # What a larger test set would add, with the same values under other names.
    path = folder / "results" / "simulated" / "results.json"
    results = json.loads(path.read_text())
    results["robustness"] = {"leads": [{"name": "lead I", "zero-shot": results["measures"]["zero-shot"]}]}
    results["groups"] = {"sex": [{"name": "women", "zero-shot": results["measures"]["zero-shot"]}]}
    next(iter(results["measures"]["zero-shot"]["per_class"].values()))["few_positives"] = False
    results["measures"]["linear probe 100 %"] = results["measures"]["zero-shot"]
    path.write_text(json.dumps(results))
    return {name: folder / name for name in ("ecgs", "run", "results")}


@pytest.fixture(scope="module")
def results(made) -> dict[str, Any]:
    return json.loads((made["results"] / "simulated" / "results.json").read_text())


@pytest.fixture(scope="module")
def card(made) -> ModelCard:
    return fill_card(made["run"], REPOSITORY, read_results([made["results"]]), license="cc-by-4.0")


def numbers_and_words_in(value: Any) -> tuple[list[float], list[str]]:
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list | tuple):
        parts = [numbers_and_words_in(one) for one in value]
        return [one for numbers, _ in parts for one in numbers], [one for _, words in parts for one in words]
    if isinstance(value, str):
        return [], [value]
    return ([value], []) if isinstance(value, int | float) else ([], [])


def numbers_in(text: str) -> set[str]:
    return {found.rstrip(".,") for found in re.findall(r"(?<![\w.])\d[\d,.]*(?:e-?\d+)?", text)}


def test_every_number_is_one_that_was_measured_or_configured(card, made, results):
    config = AutoConfig.from_pretrained(made["run"])
    extractor = AutoFeatureExtractor.from_pretrained(made["run"])
    training = json.loads((made["run"] / "training_summary.json").read_text())
    known, words = numbers_and_words_in([results, config.to_dict(), extractor.to_dict(), training])
    known += [training["seconds"] / 3600, extractor.num_samples / extractor.sampling_rate]
    shapes = json.loads((made["run"] / "model.safetensors").read_bytes()[8:].split(b"}}", 1)[0] + b"}}")
    shapes.pop("__metadata__", None)
    known.append(sum(one["data_offsets"][1] - one["data_offsets"][0] for one in shapes.values()) // 4)  # float32
    allowed = {form.format(one) for one in known for form in ("{}", "{:.3f}", "{:.2f}", "{:g}")}
    allowed |= {f"{one:,}" for one in known if isinstance(one, int)}
    allowed |= numbers_in(" ".join(words)) | numbers_in(TEMPLATE.read_text()) | OF_THE_SENTENCES
    assert numbers_in(card.text) <= allowed
    assert len(numbers_in(card.text)) > 30  # the tables are there


def test_the_tables_hold_what_was_measured(card, results):
    measured = results["measures"]["zero-shot"]
    low, high = measured["macro_auroc_interval"]
    value = f"{measured['macro_auroc']:.3f} ({low:.3f} to {high:.3f})"
    assert f"| zero-shot | trained | {value} |" in card.text
    assert f"| leads | lead I | {measured['records']} | {value} |" in card.text
    untrained = results["untrained"]["zero-shot"]["macro_auroc"]
    assert f"| zero-shot | untrained | {untrained:.3f} (" in card.text
    for family, rows in results["groups"].items():
        for row in rows:
            assert f"| {family} | {row['name']} | {row['zero-shot']['records']} | " in card.text
    assert f"differ by {results['calibration']['expected_calibration_error']:.3f} from" in card.text
    for label, row in measured["per_class"].items():
        assert (f"| {label} | {row['positives']} | {row['auroc']:.3f} (" in card.text) != row["few_positives"]
    assert "protocol `repaired`; prompts `ensemble`" in card.text


def test_metadata_round_trip(card, results, tmp_path):
    card.save(tmp_path / "README.md")
    metadata = metadata_load(tmp_path / "README.md")
    assert metadata["license"] == "cc-by-4.0"
    assert metadata["pipeline_tag"] == "zero-shot-classification"
    [model] = metadata["model-index"]
    assert model["name"] == "tiny-ecg"
    loaded = ModelCard.load(tmp_path / "README.md")
    assert str(loaded) == str(card)
    found = {(one.metric_type, one.metric_name): one for one in loaded.data.eval_results}
    types = {"AUROC": "roc_auc", "AUPRC": "average_precision", "F1": "f1"}
    for name, measured in results["measures"].items():
        for metric, metric_type in types.items():
            if f"macro_{metric.lower()}" in measured:
                one = found.pop((metric_type, f"macro {metric}, {name}"))
                assert one.metric_value == measured[f"macro_{metric.lower()}"]
                assert one.task_name in name
                assert (one.dataset_name, one.dataset_split) == ("simulated", "validation+test")
    assert not found


def test_data_cost_and_command(card, made):
    training = json.loads((made["run"] / "training_summary.json").read_text())
    splits = load_dataset_folder(made["ecgs"])
    assert training["data"]["validation_records"] == len(splits["validation"])
    assert (training["steps"], training["samples"], training["processes"]) == (2, 16, 1)
    assert training["seconds"] > 0
    for words in (PTBXL.source.title, PTBXL.source.license, PTBXL.source.citation, PTBXL.source.url, "1.0.3"):
        assert words in card.text
    assert f"Training records: {len(splits['train'])}; validation records: {len(splits['validation'])}." in card.text
    assert "16 samples in 2 steps on 1 x cpu" in card.text
    assert f"; {training['seconds'] / 3600:.2f} hours without validation and saving." in card.text
    assert "Texts: the records' findings as sentences." in card.text
    [command] = [line for line in card.text.splitlines() if line.startswith("accelerate launch")]
    words = command.split()
    repeated = parse_arguments(words[words.index("cgdmer.pretrain") + 1 :])
    assert (repeated.max_train_steps, repeated.noise, repeated.text_source) == (2, 0.02, "statements")
    assert (repeated.config_name, repeated.dataset, repeated.per_device_train_batch_size) == ("preset", "ecgs", 8)
    assert f"cgdmer evaluate {REPOSITORY} --dataset ecgs --tasks simulated" in card.text


def test_nothing_about_patients_or_this_machine_is_published(to_hub, made):
    push(made["run"], REPOSITORY, results=[made["results"]], benchmark="lab/ecg-benchmark")
    files = to_hub.files(REPOSITORY)
    assert {"training_summary.json", "training_records.safetensors", ".eval_results/simulated.yaml"} <= files.keys()
    assert not files.keys() & {"training_arguments.json", "metrics.jsonl", "training_curve.png"}
    patients = TrainingPatients.load(made["run"] / PATIENTS_FILE)
    for content in files.values():
        assert patients.key not in content and patients.key.hex().encode() not in content
        assert not [one for one in patients.hashes.astype("<i8") if one.tobytes() in content]
    own = {name: content.decode() for name, content in files.items() if not name.endswith((".safetensors", ".py"))}
    texts = {name: text for name, text in own.items() if name not in ("tokenizer.json",)}
    rows = [
        row
        for split in load_dataset_folder(made["ecgs"]).values()
        for row in split.select_columns(["record_id", "patient_id", "text"])
    ]
    forbidden = {str(value) for row in rows for value in row.values() if value}
    assert len(forbidden) > 100
    for name, text in texts.items():
        assert not [one for one in forbidden if one in text], name
        assert str(made["run"].parent) not in text, name


def test_for_a_benchmark(made, results, tmp_path):
    found = read_results([made["results"] / "simulated"])
    write_benchmark_results(tmp_path, "lab/ecg-benchmark", found)
    [entry] = parse_eval_result_entries(yaml.safe_load((tmp_path / ".eval_results" / "simulated.yaml").read_text()))
    assert (entry.dataset_id, entry.task_id) == ("lab/ecg-benchmark", "simulated")
    assert entry.value == results["measures"]["zero-shot"]["macro_auroc"]
    assert "validation+test" in entry.notes
    with pytest.raises(CorpusError, match="several results of simulated"):
        write_benchmark_results(tmp_path, "lab/ecg-benchmark", found * 2)
    with pytest.raises(PublishingError, match="benchmark"):
        write_benchmark_results(tmp_path, "no/such/thing", found)


# What is not known


def test_what_is_unknown_is_called_unknown(tmp_path):
    text = fill_card(save_model(tmp_path / "model"), REPOSITORY).text
    for words in (
        "License of the weights: not stated.",
        "Unknown: the model's folder has no `training_summary.json`",
        "Not measured.",
        "How it was trained is unknown.",
        "It has not been measured by sex and age.",
    ):
        assert words in text
    assert "None" not in text


def test_a_resumed_run_and_earlier_weights(made, tmp_path):
    shutil.copytree(made["run"], tmp_path / "run", ignore=shutil.ignore_patterns("recon*"))
    summary = json.loads((tmp_path / "run" / "training_summary.json").read_text())
    earlier = json.loads(json.dumps(summary))
    earlier["data"] |= {"source": {"title": "Another corpus", "license": "ODbL"}, "train_records": None}
    earlier["options"]["model"] = "lab/unheard-of"
    summary |= {"resumed_at_step": 1, "earlier": earlier}
    (tmp_path / "run" / "training_summary.json").write_text(json.dumps(summary))
    text = fill_card(tmp_path / "run", REPOSITORY).text
    assert "saving since step 1, where the run was resumed; unknown before" in text
    assert "Another corpus" in text
    assert "ODbL" in text
    assert "Training records: unknown" in text
    assert "Training started from the weights of lab/unheard-of, whose training data are unknown." in text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"overlap": {"records": 7, "patients": 9}}, "was trained on 7 of these records, and on patients of 9."),
        ({"overlap": {"records": 0, "patients": 0}}, "trained on 0 of these records, and on patients of 0."),
        ({"overlap": {"records": 7, "patients": None}}, "7 of these records. Patients were not checked, so it may"),
        ({"overlap": {"records": 0, "patients": None}}, "0 of these records. Patients were not checked, so it may"),
        ({"overlap": None}, "Whether the model was trained on some of these records is unknown."),
        ({"in_domain": True}, "In-domain: the model was pretrained on records of the corpus"),
        ({"protocol": "as_published"}, "repeats known defects"),
        ({"prompts": "/home/somebody/my prompts.json"}, "prompts `my prompts.json`"),
        ({"probed_feature": "embeds"}, "feature of linear probes `embeds`."),
    ],
)
def test_warnings_about_results(made, results, change, said):
    text = fill_card(made["run"], REPOSITORY, [results | change]).text
    assert said in text
    assert "somebody" not in text


def test_missing_and_damaged_results(made, tmp_path):
    with pytest.raises(CorpusError, match=r"holds no results\.json"):
        read_results([tmp_path])
    (tmp_path / "results.json").write_text('{"labels": []}')
    with pytest.raises(CorpusError, match="lacks task, protocol"):
        read_results([tmp_path])
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(CorpusError, match=r"results\.json is not as"):
        read_results([tmp_path])


def changed(results: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with another value at a path; `ABSENT` removes it."""
    copy = json.loads(json.dumps(results))
    *parents, last = path.split("/")
    place = copy
    for name in parents:
        place = place[int(name) if isinstance(place, list) else name]
    if value is ABSENT:
        del place[last]
    else:
        place[last] = value
    return copy


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("task", "/tmp/x/evil", "task is '/tmp/x/evil'"),
        ("task", "../evil", "task is '../evil'"),
        ("task", "a\nb", "task is"),
        ("task", 3, "'task' expected str, got int"),
        ("measures", [], "'measures' expected dict, got list"),
        ("measures", {}, "measures is empty"),
        ("measures/zero-shot", None, "'measures.zero-shot' expected dict, got NoneType"),
        ("measures/zero-shot/records", True, "records' expected int, got bool"),
        ("measures/zero-shot/per_class", ABSENT, "lacks per_class"),
        ("measures/zero-shot/macro_auroc", "0.9", "macro_auroc' .*'0.9'"),
        ("measures/zero-shot/macro_auroc_interval", ABSENT, "lacks macro_auroc_interval"),
        ("measures/zero-shot/macro_auroc_interval", [0.5], "does not have two ends"),
        ("untrained", {"zero-shot": 1}, "'untrained.zero-shot' expected dict, got int"),
        ("splits", "test", "'splits' expected list, got str"),
        ("overlap", {"records": 1}, "overlap lacks patients"),
        ("groups", {"sex": [{}]}, "groups.name' expected str"),
        ("groups", {"sex": [{"name": "women"}]}, "no measures"),
        ("robustness/leads/0/zero-shot", {}, "lacks records"),
        ("calibration/bins", [1], r"bins\[0\]' expected dict, got int"),
        ("command", "cgdmer 'evaluate", "closing quotation"),
    ],
)
def test_results_of_another_shape(made, results, tmp_path, path, value, words):
    """The error says what is wrong in which file, before anything is written."""
    (tmp_path / "results.json").write_text(json.dumps(changed(results, path, value)))
    with pytest.raises(CorpusError, match=rf"{tmp_path}/results\.json is not as .*{words}"):
        push(made["run"], REPOSITORY, results=[tmp_path], benchmark="lab/ecg-benchmark")


@pytest.mark.parametrize(
    ("text", "words"),
    [("[" * 10**5, "nested too deeply"), ('{"a":' * 500 + "1" + "}" * 500, "deeply"), (" " * 2**25, "larger")],
)
def test_results_that_are_too_deep_or_too_large(made, tmp_path, text, words):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(CorpusError, match=rf"results\.json.*{words}"):
        read_results([tmp_path])


def test_where_records_come_from_stays_off_the_card(made, results):
    groups = {**results["groups"], "source": [{**row, "name": "St. Elsewhere"} for row in results["groups"]["sex"]]}
    text = fill_card(made["run"], REPOSITORY, [results | {"groups": groups}]).text
    assert "St. Elsewhere" not in text and "| sex | women |" in text


def test_results_without_any_group(made, results):
    for groups in (None, {}, {"sex": []}):
        assert "By sex and age:" not in fill_card(made["run"], REPOSITORY, [results | {"groups": groups}]).text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", "lacks data"),
        ("[]", "'it' expected dict, got list"),
        ('{"data": null}', "lacks"),
        ("[" * 10**5, "nested too deeply"),
        ('{"earlier":' * 500 + "null" + "}" * 500, "nested too deeply"),
        (" " * 2**25, "larger"),
        ("{", "Expecting"),
    ],
)
def test_a_damaged_summary_of_training(made, tmp_path, text, words):
    shutil.copytree(made["run"], tmp_path / "run", ignore=shutil.ignore_patterns("recon*"))
    (tmp_path / "run" / "training_summary.json").write_text(text)
    for publish in (push, fill_card):
        with pytest.raises(ModelFolderError, match=rf"training_summary\.json is not as .*{words}"):
            publish(tmp_path / "run", REPOSITORY)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("data", None, "'data' expected dict, got NoneType"),
        ("data/source", {"title": 3}, "'data.source.title' expected str, got int"),
        ("data/train_records", ABSENT, "lacks train_records"),
        ("options/text_source", "dreams", "'report', 'statements'"),
        ("seconds", "long", "'seconds' expected float, got str"),
        ("versions", {"torch": 2}, "'versions.torch' expected str, got int"),
        ("command", "finetune", "options lacks labels"),
        ("earlier", {}, "earlier lacks data"),
    ],
)
def test_a_summary_of_training_of_another_shape(made, tmp_path, path, value, words):
    summary = json.loads((made["run"] / "training_summary.json").read_text())
    (tmp_path / "training_summary.json").write_text(json.dumps(changed(summary, path, value)))
    with pytest.raises(ModelFolderError, match=words):
        run_summary.of_model(tmp_path)


@pytest.mark.parametrize(
    ("problem_type", "said"),
    [
        (None, "one sigmoid per label: AFIB, NORM"),
        ("multi_label_classification", "one sigmoid per label: AFIB, NORM"),
        ("single_label_classification", "a softmax over labels that exclude each other: AFIB, NORM"),
        ("regression", "a regression, which gives values in the units of its training data and no scores: AFIB, NORM"),
    ],
)
def test_how_a_classifier_scores(tmp_path, problem_type, said):
    config = CGDMERECGConfig(**TINY_ECG, id2label={0: "AFIB", 1: "NORM"}, problem_type=problem_type)
    CGDMERForECGClassification(config).save_pretrained(tmp_path)
    ECGFeatureExtractor(100, 1000, 40).save_pretrained(tmp_path)
    card = fill_card(tmp_path, REPOSITORY)
    assert said in card.text and "A fine-tuned ECG encoder" in card.text and "fine-tuned" in card.data.tags
    assert "those it was fine-tuned on" in card.text and "finetuning on your own labels" not in card.text


def test_the_card_names_the_libraries_that_read_files(tmp_path):
    """wfdb is only for packed formats, and DICOM needs a library too."""
    text = fill_card(save_model(tmp_path / "model"), REPOSITORY).text
    assert "`pydicom` for DICOM files, and `wfdb` for WFDB\nfiles in packed formats" in text


@pytest.mark.parametrize(
    ("command", "repeated"),
    [
        ("cgdmer evaluate /data/run --dataset /data/ptbxl/", "cgdmer evaluate lab/m --dataset ptbxl"),
        ("cgdmer evaluate run --dataset=/data/x --seed 3", "cgdmer evaluate lab/m --dataset=x --seed 3"),
        ("cgdmer evaluate --dataset 'C:\\my data' ../run", "cgdmer evaluate --dataset 'my data' run"),
    ],
)
def test_commands_lose_their_folders(command, repeated):
    assert command_to_repeat(command, "lab/m") == repeated
