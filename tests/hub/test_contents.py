# SPDX-License-Identifier: Apache-2.0
"""What a push says about people and places: listed before anything is sent, and refused where it names them."""

import json
import re
import shutil
import socket
from pathlib import Path

import datasets
import pytest
from safetensors.torch import load_file, save_file
from tiny_hub_model import TINY_ECG, save_model
from transformers import AutoProcessor

from cgdmer import CGDMERECGConfig, CGDMERForECGClassification, ECGFeatureExtractor
from cgdmer.commands import main
from cgdmer.data.fingerprints import PATIENTS_FILE, Fingerprints
from cgdmer.data.storage import FEATURES, record_to_row
from cgdmer.hub import contents
from cgdmer.hub.contents import pushed_files
from cgdmer.hub.publishing import push
from cgdmer.models.errors import ModelFolderError
from cgdmer.presets import preset_folder
from cgdmer.simulation.cohort import simulate_cohort
from cgdmer.training import run_summary

REPOSITORY = "lab/tiny-ecg"
SUMMARY = {
    "command": "pretrain",
    "data": {"name": "ecgs", "description": "Simulated.", "train_records": 9, "validation_records": 3},
    "options": {"model": None, "text_model": None, "text_source": "report"},
    **{"steps": 1, "samples": 1, "seconds": 1.0, "resumed_at_step": 0, "processes": 1},
    **{"device": "cpu", "mixed_precision": "no", "versions": {"cgdmer": "0.1.0"}, "earlier": None},
}


@pytest.fixture(scope="module")
def cohort() -> datasets.Dataset:
    rows = [record_to_row(record) for record in simulate_cohort(9, seed=5, sampling_rate=100)]
    return datasets.Dataset.from_list(rows, features=FEATURES)


@pytest.fixture(scope="module")
def saved(cohort, tmp_path_factory) -> Path:
    """A model with the files that training writes beside it."""
    folder = save_model(tmp_path_factory.mktemp("saved") / "run")
    Fingerprints.of(cohort).save(folder)
    (folder / "training_summary.json").write_text(json.dumps(SUMMARY))
    return folder


@pytest.fixture
def run(saved, tmp_path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "run"))


def change(path: Path, **values) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


# The list


def test_a_dry_run_lists_what_a_push_sends_and_asks_nobody(to_hub, run, capsys, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    (run / "metrics.jsonl").write_text("{}\n")
    (run / "step_10").mkdir()
    assert main(["push", str(run), REPOSITORY, "--dry_run", "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert main(["push", str(run), REPOSITORY, "--dry_run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert not to_hub.requests
    monkeypatch.undo()
    assert planned["left_out"] == {
        "metrics.jsonl": "a log of training",
        "step_10/": "not part of a model",
        PATIENTS_FILE: "hashes of patients with their key: yours alone",
    }
    for file in planned["contents"]:
        (line,) = [line for line in lines if f"  {file['path']}: " in line]
        assert f"{file['bytes']:,}" in line and line.endswith(file["people"]) and len(file["people"]) > 10
    for name in planned["left_out"]:
        assert len([line for line in lines if f"stays here  {name}: " in line]) == 1
    assert [file["path"] for file in planned["contents"]] == planned["files"]


def test_what_is_listed_is_what_is_sent(to_hub, run, capsys):
    planned = push(run, REPOSITORY, dry_run=True)
    assert main(["push", str(run), REPOSITORY]) == 0
    assert f"Left out: {PATIENTS_FILE}" in capsys.readouterr().out
    sent = {name: len(content) for name, content in to_hub.files(REPOSITORY).items() if name != ".gitattributes"}
    assert {file["path"]: file["bytes"] for file in planned["contents"]} == sent


def test_what_files_say_about_people(run, cohort, tmp_path):
    people = {file["path"]: file["people"] for file in push(run, REPOSITORY, dry_run=True)["contents"]}
    assert "reports" in people["model.safetensors"]
    assert f"hashes of {len(cohort)} recordings" in people["training_records.safetensors"]
    assert people["training_summary.json"].endswith("names ecgs, Simulated.")
    assert people["README.md"].startswith("made from")
    (run / "README.md").write_text("---\nlicense: mit\n---\nMine.\n")
    mine = push(run, REPOSITORY, dry_run=True)
    assert {file["path"]: file["people"] for file in mine["contents"]}["README.md"].startswith("your text")
    model = CGDMERForECGClassification(CGDMERECGConfig(**TINY_ECG, id2label={0: "AFIB", 1: "Dr. Smith's finding"}))
    model.save_pretrained(tmp_path / "classifier")
    ECGFeatureExtractor(100, 1000, 40).save_pretrained(tmp_path / "classifier")
    listed = push(tmp_path / "classifier", REPOSITORY, dry_run=True)["contents"]
    people = {file["path"]: file["people"] for file in listed}
    assert people["config.json"] == "settings; names the labels AFIB, Dr. Smith's finding"


def test_a_file_of_an_unknown_kind_is_refused(tmp_path):
    (tmp_path / "notes.json").write_text("{}")
    with pytest.raises(ModelFolderError, match=r"notes\.json"):
        pushed_files(tmp_path)


# What stays

LEFT_BEHIND = (
    *("notes.txt", "metrics.jsonl", "training_arguments.json", "results.json", "scores.csv", "scores.parquet"),
    *("training_curve.png", "p17.png", "reconstructions/0-000001.png", "events.out.tfevents.17.host-1.4.0"),
    *("runs/events.out.tfevents.17.host-1.4.0", "step_10/state.safetensors", "checkpoint-3/trainer_state.json"),
    *("logs/cgdmer/hparams.yml", ".cache/huggingface/x.json", "README.md.bak", "config.json.orig", "summary.json"),
    *("wandb/run-1/files/wandb-metadata.json", "skipped.csv", "adapter_config.json", "private.py", "vocab.tsv"),
)


def test_nothing_beside_the_model_is_sent(to_hub, run):
    planted = "0-000001 Quillfeather, Jane: /home/quill/ecgs on ward-7 "
    for name in LEFT_BEHIND:
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        content = json.dumps({"seed": planted}) if name.endswith(".json") else planted
        (run / name).write_text(content)
    pushed = push(run, REPOSITORY)
    assert {name.split("/")[0] for name in LEFT_BEHIND} == {
        name.removesuffix("/") for name in pushed["left_out"] if name != PATIENTS_FILE
    }
    for name, content in to_hub.files(REPOSITORY).items():
        assert b"Quillfeather" not in content and b"ward-7" not in content and name not in LEFT_BEHIND
        assert not re.search(rb"\b0-00000\d\b", content)


# What is refused

PLACES = (
    *("/home/doe/ecgs", "/Users/doe/ecgs", "/mnt/st-marys/cardiology", "/data/hospital/2024", "/scratch/doe/run"),
    *(r"C:\Users\doe\ecgs", "file:///srv/ecgs", "/gpfs/ward7/ecgs"),
)


def place_in(run: Path, file: str, words: str) -> None:
    """Plant words in one of the files that are sent."""
    if file == "README.md":
        (run / file).write_text(f"---\nlicense: mit\n---\nTrained on {words}, as usual.\n")
    elif file == "model.safetensors":
        save_file(load_file(run / file), run / file, metadata={"format": "pt", "note": words})
    elif file == "training_summary.json":
        data = SUMMARY["data"] | {"description": f"ECGs of {words}."}
        earlier = SUMMARY | {"data": data}
        (run / file).write_text(json.dumps(SUMMARY | {"earlier": earlier}))
    else:
        change(run / file, _note=words)


SENT = ("README.md", "config.json", "training_summary.json", "model.safetensors", "tokenizer_config.json")


@pytest.mark.parametrize("place", PLACES)
def test_a_folder_of_a_machine_is_not_published(to_hub, run, place):
    place_in(run, "training_summary.json", place)
    with pytest.raises(ModelFolderError, match="place on a machine"):
        push(run, REPOSITORY)
    assert not to_hub.requests


@pytest.mark.parametrize("file", SENT)
def test_no_file_names_the_home_the_folder_or_the_host(to_hub, run, monkeypatch, file):
    monkeypatch.setattr(contents.socket, "gethostname", lambda: "ward-7.st-marys.example")
    before = (run / file).read_bytes() if (run / file).exists() else None
    for words in (f"{Path.home()}/x", str(run), "ward-7.st-marys.example", "/elsewhere/of/training"):
        (run / "training_arguments.json").write_text('{"dataset": "/elsewhere/of/training", "seed": 0}')
        place_in(run, file, words)
        with pytest.raises(ModelFolderError, match=r"would publish"):
            push(run, REPOSITORY)
        (run / file).unlink() if before is None else (run / file).write_bytes(before)
    push(run, REPOSITORY, dry_run=True)


def test_ordinary_words_are_not_taken_for_places(run):
    text = (
        "Rates in beats/min, and/or mV/s; see https://physionet.org/data/ptb-xl/ or [here](data/files), docs/home/x. "
        "Load ./data/ecgs or path/to/home/record with `cgdmer classify ~/record`. 12/24 leads; I/II/III; 1/2."
    )
    (run / "README.md").write_text(f"---\nlicense: mit\n---\n{text} {socket.gethostname().strip('0123456789-.')}\n")
    push(run, REPOSITORY, dry_run=True)


@pytest.mark.parametrize("file", SENT)
def test_no_file_names_a_training_patient(to_hub, run, cohort, file):
    place_in(run, file, f"e.g. patient {cohort[3]['patient_id']}")
    with pytest.raises(ModelFolderError, match="the id of a training patient"):
        push(run, REPOSITORY)
    assert not to_hub.requests
    (run / PATIENTS_FILE).unlink()  # who does not know the patients cannot check
    push(run, REPOSITORY, dry_run=True)


def test_numbers_of_patients_are_not_confused_with_counts(run, cohort):
    patients = [*("3", "100", "12345"), *["10002345"] * (len(cohort) - 3)]
    Fingerprints.of(cohort.remove_columns("patient_id").add_column("patient_id", patients)).save(run)
    place_in(run, "README.md", "3 of 100 records, 12345 in all")
    push(run, REPOSITORY, dry_run=True)
    place_in(run, "README.md", "3 of 100 records, e.g. 10002345.")
    with pytest.raises(ModelFolderError, match="10002345"):
        push(run, REPOSITORY, dry_run=True)


# Words that a tokenizer has learned


def test_the_tokenizers_of_the_presets_know_no_word_of_a_real_report():
    """They were learned from simulated reports and a list of terms."""
    terms = (Path(__file__).parents[2] / "tools" / "report_tokenizer.py").read_text().lower()
    texts = [record.text or "" for record in simulate_cohort(800, seed=0, sampling_rate=100)]
    known = {word for text in (terms, *texts) for word in re.findall(r"[a-z]+", text.lower())}
    for preset in ("cgdmer-tiny", "merit-tiny"):
        vocabulary = AutoProcessor.from_pretrained(preset_folder(preset)).tokenizer.get_vocab()
        words = {piece for piece in vocabulary if re.fullmatch(r"[a-z]{2,}", piece)}
        assert len(words) > 300
        assert not [word for word in words if not any(one.startswith(word) for one in known)], preset


def test_a_folder_that_is_gone_is_still_named_by_its_last_part(tmp_path, monkeypatch):
    """Training may end after the folder that it started from was moved."""
    monkeypatch.chdir(tmp_path)
    assert [run_summary._origin(name) for name in ("/gone/to/ecgs", "../ecgs", "~/x/ecgs")] == ["ecgs"] * 3
    assert [run_summary._origin(name) for name in ("lab/ecgs", "cgdmer-tiny")] == ["lab/ecgs", "cgdmer-tiny"]
