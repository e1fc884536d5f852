# SPDX-License-Identifier: Apache-2.0
"""The command line as a user sees it: what it prints, what it writes, and how it refuses."""

import csv
import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoFeatureExtractor, AutoProcessor, BertConfig, BertModel

from cgdmer import CGDMERConfig, CGDMERModel, CoReECGConfig, CoReECGModel
from cgdmer.commands import _warnings_in_words, build_parser, main
from cgdmer.data.storage import split_of_fold
from cgdmer.data.writing import write_dataset
from cgdmer.models.errors import ECGInputWarning
from cgdmer.models.leads import STANDARD_LEADS
from cgdmer.models.reading_record import read_record
from cgdmer.presets import preset_folder
from cgdmer.simulation.cohort import simulate_cohort, simulate_record
from recordings import with_frank_leads, write_wfdb
from small_families import ECG, HEADS


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    config = CGDMERConfig.from_pretrained(preset_folder("cgdmer-tiny"))
    config.ecg_config.num_hidden_layers = 1
    torch.manual_seed(0)
    CGDMERModel(config).save_pretrained(folder)
    AutoProcessor.from_pretrained(preset_folder("cgdmer-tiny")).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def record_path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("record")
    record = simulate_record(["atrial_fibrillation"], seed=2)
    return write_wfdb(record, folder / "patient")


@pytest.fixture(scope="module")
def cohort_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort") / "dataset"
    records = simulate_cohort(60, seed=3, sampling_rate=100)
    write_dataset(records, folder, splits=split_of_fold, description="Simulated patients.")
    return folder


COMMANDS = ["demo", "prepare", "finetune", "evaluate", "push", "classify", "explain", "app", "score", "search", "plot"]
COMMANDS += ["export", "convert", "calibrate"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as stop:
        build_parser().parse_args([command, "--help"])
    assert stop.value.code == 0
    assert len(capsys.readouterr().out.splitlines()) > 8


def test_classify_prints_scores_and_that_it_is_not_a_medical_device(model_folder, record_path, tmp_path, capsys):
    arguments = ["classify", str(record_path), "--model", str(model_folder)]
    arguments += ["--labels", "atrial fibrillation", "normal ECG"]
    assert main([*arguments, "--plot", str(tmp_path / "ecg.png")]) == 0
    printed = capsys.readouterr().out
    assert "%  atrial fibrillation" in printed and "%  normal ECG" in printed
    assert "Not a medical device" in printed
    with Image.open(tmp_path / "ecg.png") as picture:
        assert picture.width > 1000
    assert main([*arguments, "--exclusive", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert sum(row["score"] for row in answer["scores"]) == pytest.approx(1)
    assert {row["label"] for row in answer["scores"]} == {"atrial fibrillation", "normal ECG"}
    assert "Not a medical device" in answer["note"]


def test_answers_say_what_was_not_used(model_folder, record_path, tmp_path, capsys):
    record = read_record(record_path)
    signal = record.signal.copy()
    signal[6] = 0.0
    signal[7, 300:] = np.nan
    write_wfdb(replace(record, signal=signal), tmp_path / "faulty")
    share = f"{100 * (1 - 300 / signal.shape[1]):.0f} % missing"
    arguments = ["classify", str(tmp_path / "faulty"), "--model", str(model_folder), "--labels", "normal ECG"]
    with pytest.warns(ECGInputWarning, match=rf"not used: V1 \(flat\); V2 \({share}\)"):
        assert main([*arguments, "--plot", str(tmp_path / "ecg.svg")]) == 0
    words = f"Not used: V1 (flat); V2 ({share})."
    with _warnings_in_words():
        line = warnings.formatwarning(ECGInputWarning("V1 is flat."), ECGInputWarning, "file.py", 3)
        assert line == "cgdmer: V1 is flat.\n"
        assert "file.py:3" in warnings.formatwarning(UserWarning("else"), UserWarning, "file.py", 3)
    assert words in capsys.readouterr().out
    with pytest.warns(ECGInputWarning):
        assert main([*arguments, "--json"]) == 0
    use = json.loads(capsys.readouterr().out)["record_use"]
    assert use["leads_not_used"] == {"V1": "flat", "V2": share} and len(use["leads_used"]) == 10
    arguments = ["explain", *arguments[1:4], "--label", "normal ECG", "--plot", str(tmp_path / "why.png")]
    with pytest.warns(ECGInputWarning):
        assert main(arguments) == 0
    assert words in capsys.readouterr().out
    with pytest.warns(ECGInputWarning):
        assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["record_use"] == use


def test_explain_draws_a_picture_and_refuses_an_empty_label(model_folder, record_path, tmp_path, capsys):
    arguments = ["explain", str(record_path), "--model", str(model_folder), "--plot", str(tmp_path / "why.png")]
    assert main([*arguments, "--label", "atrial fibrillation"]) == 0
    printed = capsys.readouterr().out
    assert "%  atrial fibrillation" in printed and "rank correlation" in printed and "Not a medical device" in printed
    with Image.open(tmp_path / "why.png") as picture:
        assert picture.width > 2000
    assert main([*arguments, "--label", "atrial fibrillation", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert len(answer["relevance"]) == 12 and answer["picture"] == str(tmp_path / "why.png")
    assert main([*arguments, "--label", " "]) == 1
    assert "empty or not a text" in capsys.readouterr().err


def test_named_leads_are_taken_from_fifteen_channels(model_folder, tmp_path, capsys):
    record = simulate_record(["left_bundle_branch_block"], seed=1, sampling_rate=500)
    paths = [write_wfdb(record, tmp_path / "twelve"), write_wfdb(with_frank_leads(record), tmp_path / "fifteen")]
    answers = []
    for path in paths:
        command = ["classify", str(path), "--model", str(model_folder), "--json", "--labels", "normal ECG"]
        assert main([*command, "--leads", *STANDARD_LEADS]) == 0
        answers.append(json.loads(capsys.readouterr().out)["scores"])
    assert answers[0] == answers[1]
    assert main(["classify", str(paths[1]), "--model", str(model_folder), "--labels", "normal ECG"]) == 1
    assert "'vx' is not one of the twelve" in (said := capsys.readouterr().err) and "--leads" in said
    pictures = [str(tmp_path / name) for name in ("why.png", "ecg.png")]
    explain = ["explain", str(paths[1]), "--model", str(model_folder), "--label", "normal ECG", "--json"]
    assert main([*explain, "--plot", pictures[0], "--leads", "V1, II"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [lead for lead, there in zip(shown["leads"], shown["present"], strict=True) if any(there)] == ["II", "V1"]
    assert main(["plot", str(paths[1]), pictures[1], "--leads", "I", "V9"]) == 1
    assert "V9" in capsys.readouterr().err
    classify = ["classify", str(paths[0]), "--model", str(model_folder), "--labels", "normal ECG"]
    assert main([*classify, "--plot", str(tmp_path / "absent" / "ecg.png")]) == 1  # before the work, not after it
    assert "absent is not a folder" in capsys.readouterr().err


def test_channels_are_named_and_tables_described(model_folder, tmp_path, capsys):
    """The same scores from a Holter channel named ECG, from a table, and from an array, as from a file with names."""
    record = simulate_record(["sinus_rhythm"], seed=1, sampling_rate=500)
    two = replace(record, signal=record.signal[:2], lead_names=("I", "II"))
    known = write_wfdb(two, tmp_path / "known")
    holter = write_wfdb(replace(two, lead_names=("ECG LA-RA", "ECG")), tmp_path / "holter")
    table, array = tmp_path / "table.csv", tmp_path / "array.npy"
    exact = np.rint(two.signal * 1000) / 1000
    np.savetxt(table, exact.T, delimiter=";", header="I;II", comments="", fmt="%.3f")
    np.save(array, exact)
    stated = ["--sampling_rate", "500", "--unit", "millivolt"]
    ways = {
        known: [],
        holter: ["--lead_names", "ECG LA-RA=I", "ECG=II"],
        f"{holter}.hea": ["--lead_names", "I,II"],
        table: stated,
        array: [*stated, "--lead_names", "I", "II"],
    }
    answers = []
    for path, more in ways.items():
        command = ["classify", str(path), "--model", str(model_folder), "--json", "--labels", "normal ECG", *more]
        assert main(command) == 0
        answers.append(json.loads(capsys.readouterr().out)["scores"][0]["score"])
        assert main(["plot", str(path), str(tmp_path / "ecg.png"), *more]) == 0
        capsys.readouterr()
    assert answers == pytest.approx([answers[0]] * 5, abs=1e-5)
    explain = ["explain", str(table), "--model", str(model_folder), "--label", "normal ECG", "--json", *stated]
    assert main([*explain, "--plot", str(tmp_path / "why.png"), "--leads", "II"]) == 0
    capsys.readouterr()
    for path, words in ((array, "--sampling_rate 500 --unit mV --lead_names I II"), (holter, "--lead_names ECG=II")):
        assert main(["plot", str(path), str(tmp_path / "ecg.png")]) == 1
        assert words in capsys.readouterr().err
    assert main(["plot", str(known), str(tmp_path / "ecg.png"), *stated]) == 1
    assert "states its own" in capsys.readouterr().err


def test_plot_draws_a_picture(record_path, tmp_path, capsys):
    assert main(["plot", str(record_path), str(tmp_path / "twelve.png")]) == 0
    assert "twelve.png" in capsys.readouterr().out
    with Image.open(tmp_path / "twelve.png") as picture:
        assert picture.size[0] > picture.size[1] > 500


def test_evaluate_prints_a_table_and_writes_results(model_folder, cohort_folder, tmp_path, capsys):
    arguments = ["evaluate", str(model_folder), "--dataset", str(cohort_folder), "--tasks", "simulated"]
    assert main([*arguments, "--skip_linear_probe", "--output_dir", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "95 % interval" in printed and "overlap with the test records is not known" in printed
    written = json.loads((tmp_path / "simulated" / "results.json").read_text())
    assert list(written["measures"]) == list(written["untrained"]) == ["zero-shot"]
    assert written["command"].startswith(f"cgdmer evaluate {model_folder} --dataset")
    assert (tmp_path / "simulated" / "report.md").is_file()
    assert main([*arguments, "--skip_linear_probe", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)["simulated"]
    assert {**again, "command": ""} == {**written, "command": ""}


def test_prepare_skips_bad_records(real_data, tmp_path, capsys):
    """Of forty real records, one is truncated and one is missing."""
    raw, source = tmp_path / "raw", real_data / "ptb-xl-subset"
    (raw / "records100" / "00000").mkdir(parents=True)
    shutil.copy(source / "scp_statements.csv", raw)
    with open(source / "ptbxl_database.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    rows = [row for row in rows if (source / f"{row['filename_lr']}.dat").is_file()][:40]
    with open(raw / "ptbxl_database.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)
    for row in rows:
        for ending in (".hea", ".dat"):
            shutil.copyfile(source / f"{row['filename_lr']}{ending}", raw / f"{row['filename_lr']}{ending}")
    (raw / f"{rows[3]['filename_lr']}.dat").unlink()
    damaged = raw / f"{rows[5]['filename_lr']}.dat"
    damaged.write_bytes(damaged.read_bytes()[:-100])

    assert main(["prepare", "ptb-xl", str(raw), str(tmp_path / "out")]) == 0
    assert "38 records written" in (printed := capsys.readouterr().out) and "2 skipped" in printed
    with open(tmp_path / "out" / "skipped.csv", newline="", encoding="utf-8") as file:
        skipped = {row["record"]: row["reason"] for row in csv.DictReader(file)}
    assert set(skipped) == {rows[3]["ecg_id"], rows[5]["ecg_id"]}
    assert main(["prepare", "ptb-xl", str(raw), str(tmp_path / "out")]) == 1
    assert "not empty" in capsys.readouterr().err


def test_finetune_prints_what_it_measured(model_folder, cohort_folder, tmp_path, capsys):
    arguments = ["finetune", str(model_folder), "--dataset", str(cohort_folder), "--output_dir", str(tmp_path)]
    assert main([*arguments, "--labels", "sinus_rhythm", "--freeze_encoder"]) == 0
    assert "macro AUROC" in capsys.readouterr().out
    assert (tmp_path / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plot", "nowhere/record"], "nowhere"),
        (["classify", "{record}", "--model", "{model}", "--labels", "a", "a"], "more than once"),
        (["classify", "{record}", "--model", "{model}", "--labels", " "], "empty"),
        (["classify", "{record}", "--model", "{preset}", "--labels", "a"], "no weights"),
        (["evaluate", "{model}", "--dataset", "{model}"], "no prepared dataset"),
        (["evaluate", "{model}", "--dataset", "x", "--tasks", "ptbxl-none"], "ptbxl-super"),
        (["finetune", "{model}", "--dataset", "{cohort}", "--output_dir", "x", "--labels", "nothing"], "'nothing'"),
        (["prepare", "ptb-xl", "{model}", "{model}/out"], "ptbxl_database.csv"),
        (["demo", "--output_dir", "{model}"], "not empty"),
    ],
)
def test_errors_take_one_line(arguments, message, model_folder, record_path, cohort_folder, capsys):
    places = {
        "record": record_path,
        "model": model_folder,
        "cohort": cohort_folder,
        "preset": preset_folder("cgdmer-tiny"),
    }
    assert main([argument.format(**places) for argument in arguments]) == 1
    complaint = capsys.readouterr().err.strip().splitlines()[-1]
    assert complaint.startswith(f"cgdmer {arguments[0]}:") and message in complaint


def test_the_shipped_model_is_known_by_its_name(record_path, tmp_path, monkeypatch, capsys):
    command = ["classify", str(record_path), "--labels", "atrial fibrillation", "--json"]
    assert main(command) == main([*command, "--model", "cgdmer-tiny-ptbxl"]) == 0
    first, second = capsys.readouterr().out.split("}\n{")
    assert first + "}" == "{" + second.rstrip()
    assert main([*command, "--model", "cgdmer-tiny-ptbxl/"]) == 1  # no other spelling works
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cgdmer-tiny-ptbxl").mkdir()  # a folder of that name takes precedence
    assert main([*command, "--model", "cgdmer-tiny-ptbxl"]) == 1
    assert "cgdmer-tiny-ptbxl is no model of this package" in capsys.readouterr().err


def write_foreign_models(folder: Path, model_folder: Path) -> dict[str, Path]:
    """Folders that hold no zero-shot model, keyed by words of the error they cause."""
    made = {}
    made["takes no texts"] = folder / "coreecg"
    config = CoReECGConfig(**ECG | HEADS | {"protected_to_hz": 20.0})
    CoReECGModel(config).save_pretrained(made["takes no texts"])
    AutoFeatureExtractor.from_pretrained(preset_folder("coreecg-tiny")).save_pretrained(made["takes no texts"])
    made["config.json"] = folder / "empty"
    made["config.json"].mkdir()
    made["of type 'bert'"] = folder / "bert"
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=10, **sizes)).save_pretrained(made["of type 'bert'"])
    damages = {
        "no_such_type": ("config.json", '{"model_type": "no_such_type"}'),
        "/config.json cannot be read: it is not a JSON object": ("config.json", "[]"),
        "JSONDecodeError": ("tokenizer.json", '{"version": '),
        "processor_config.json cannot be read": ("processor_config.json", "[]"),
    }
    for number, (word, (name, content)) in enumerate(damages.items()):
        made[word] = folder / f"damaged_{number}"
        shutil.copytree(model_folder, made[word])
        assert (made[word] / name).is_file()
        (made[word] / name).write_text(content)
    return made


@pytest.mark.parametrize("command", ["classify", "explain", "score", "export"])
def test_folders_without_a_zero_shot_model_are_refused_by_name(command, model_folder, record_path, tmp_path, capsys):
    arguments = {
        "classify": ["classify", str(record_path), "--labels", "a", "--model"],
        "explain": ["explain", str(record_path), "--label", "a", "--plot", str(tmp_path / "x.png"), "--model"],
        "score": ["score", str(record_path.parent), str(tmp_path / "x.parquet"), "--labels", "a", "--model"],
        "export": ["export", "--labels", "a", "--", "{model}", str(tmp_path / "x.onnx")],
    }[command]
    for word, folder in write_foreign_models(tmp_path, model_folder).items():
        given = [argument.format(model=folder) for argument in arguments]
        assert main(given if command == "export" else [*given, str(folder)]) == 1
        complaint = capsys.readouterr().err
        assert f"cgdmer {command}: {folder}" in complaint and word in complaint
    assert not list(tmp_path.glob("x.*"))


def test_unknown_picture_formats_are_refused_before_the_work(capsys):
    """Even before the recording and the model are looked up: neither exists."""
    for arguments in (
        ["classify", "nowhere", "--model", "nowhere", "--labels", "a", "--plot", "x.zzz"],
        ["explain", "nowhere", "--model", "nowhere", "--label", "a", "--plot", "x.zzz"],
        ["plot", "nowhere", "x.zzz"],
        ["plot", "nowhere", "png"],
    ):
        assert main(arguments) == 1
        complaint = capsys.readouterr().err
        assert "does not end like a picture" in complaint and ".png, .pdf" in complaint


def test_exclusive_needs_two_labels(capsys):
    assert main(["classify", "no-record", "--labels", "atrial fibrillation", "--exclusive"]) == 1
    assert "Name at least two" in capsys.readouterr().err
