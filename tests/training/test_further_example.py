# SPDX-License-Identifier: Apache-2.0
"""examples/comparison/further.py and challenge_table.py: fewer leads, few labels, other hospitals."""

import argparse
import csv
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from cgdmer import CGDMERModel
from cgdmer.corpora.preparing import prepare_corpus
from cgdmer.data.storage import load_dataset_folder
from cgdmer.data.writing import write_dataset
from cgdmer.evaluation.linear_probe import fit_linear_probe
from cgdmer.evaluation.splits import repaired_splits
from cgdmer.families import load_processor
from cgdmer.inference.embeddings import embed_records
from cgdmer.models.ecg_record import ECGRecord
from cgdmer.simulation.cohort import simulate_cohort

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "comparison"
sys.path.insert(0, str(FOLDER))

import challenge_table  # noqa: E402
import further  # noqa: E402


def half_for_testing(record: ECGRecord) -> str:
    return "train" if record.fold <= 4 else "validation" if record.fold == 5 else "test"


@pytest.fixture(scope="module")
def place(tmp_path_factory, make_preset) -> Path:
    """What run.py leaves, of a model with random weights, and records with SCP codes instead of simulated labels."""
    folder = tmp_path_factory.mktemp("further")
    preset = make_preset()
    model = CGDMERModel(CGDMERModel.config_class.from_pretrained(preset))
    model.save_pretrained(folder / "work" / "full" / "seed_0" / "model")
    load_processor(preset, model).save_pretrained(folder / "work" / "full" / "seed_0" / "model")
    cohort = simulate_cohort(160, seed=6, sampling_rate=100)
    write_dataset(cohort, folder / "simulated", splits=half_for_testing, description="Simulated.")
    others = simulate_cohort(40, seed=8, sampling_rate=100)
    write_dataset(others, folder / "elsewhere", splits=half_for_testing, description="Simulated.")
    load_dataset_folder(folder / "simulated").map(further.as_scp_codes).save_to_disk(folder / "coded")
    shutil.copy(folder / "simulated" / "summary.json", folder / "coded")
    return folder


def run_further(place: Path) -> list[dict[str, str]]:
    further.main(
        [
            *("--dataset", str(place / "coded"), "--output_dir", str(place / "work"), "--csv", str(place / "f.csv")),
            *("--rows", "full", "--shifted", f"elsewhere={place / 'elsewhere'}"),
        ]
    )
    return list(csv.DictReader((place / "f.csv").read_text().splitlines()))


def test_every_kind_is_measured_once(place, monkeypatch, capsys):
    monkeypatch.setattr(further, "SHARE", 0.5)
    monkeypatch.setattr(further, "EPOCHS", 1)
    found = run_further(place)
    assert [(line["kind"], line["task"], line["measure"]) for line in found] == [
        ("fewer leads", "ptbxl-super", "linear probe, 6 limb leads"),
        ("fewer leads", "ptbxl-super", "linear probe, 3 leads"),
        ("fewer leads", "ptbxl-super", "linear probe, 2 leads"),
        ("fewer leads", "ptbxl-super", "linear probe, lead I"),
        ("few labels", "ptbxl-super", "fine-tuned on 50%"),
        ("shift", "ptbxl-rhythm, elsewhere", "zero-shot"),
        ("shift", "ptbxl-rhythm, elsewhere", "linear probe 100 %"),
    ]
    capsys.readouterr()
    assert run_further(place) == found
    assert capsys.readouterr().out.count("already") == 3
    classes_of = further.SUPERCLASSES.classes_of
    few = load_dataset_folder(place / "work" / "few_labels_0")["train"]
    train = load_dataset_folder(place / "coded")["train"]
    known = {patient for patient, codes in zip(train["patient_id"], train["labels"], strict=True) if classes_of(codes)}
    assert len(set(few["patient_id"])) == round(0.5 * len(known)) and set(few["patient_id"]) < known
    assert set(few["record_id"]) < set(train["record_id"])


def test_with_one_lead_nothing_else_is_seen(place):
    folder = place / "work" / "full" / "seed_0" / "model"
    options = argparse.Namespace(splits=["test"])
    found = further.fewer_leads(folder, load_dataset_folder(place / "coded"), 0, options)
    parts = repaired_splits(load_dataset_folder(place / "coded"), further.SUPERCLASSES)
    model = CGDMERModel.from_pretrained(folder)
    extractor = load_processor(folder, model).feature_extractor

    class LeadOne:
        def __init__(self, part):
            self.part = part

        def __len__(self):
            return len(self.part)

        def __getitem__(self, number):
            record = self.part[number]
            return type(record)(record.signal[:1], record.sampling_rate, ("I",))

    features = {name: embed_records(model, extractor, LeadOne(parts[name])).pooled for name in ("train", "test")}
    probe = fit_linear_probe(features["train"], parts["train"].labels, parts["train"].patients)
    usable = parts["test"].labels.any(axis=0) & ~parts["test"].labels.all(axis=0)
    scores = probe.scores(features["test"])
    expected = np.mean([roc_auc_score(parts["test"].labels[:, c], scores[:, c]) for c in np.flatnonzero(usable)])
    assert found[-1][1] == "linear probe, lead I"
    assert found[-1][2]["macro_auroc"] == pytest.approx(expected)


def test_codes_of_other_corpora_are_read_as_scp_codes():
    labels = ["164889003", "426783006", "427084000", "atrial_flutter", "unheard"]
    assert further.as_scp_codes({"labels": labels})["labels"] == ["AFIB", "SR", "STACH", "AFLT", "unheard"]


def test_headers_of_the_challenge_become_a_table(real_data, tmp_path):
    challenge_table.main(str(real_data / "georgia-sample"), str(tmp_path / "table.csv"))
    lines = list(csv.DictReader((tmp_path / "table.csv").read_text().splitlines()))
    assert len(lines) == 39 and all(line["split"] == "test" for line in lines)
    header = (real_data / "georgia-sample" / f"{lines[0]['record']}.hea").read_text()
    assert f"Dx: {lines[0]['labels'].replace(';', ',')}" in header
    table = {"table": str(tmp_path / "table.csv")}
    prepare_corpus("folder", real_data / "georgia-sample", tmp_path / "georgia", **table)
    rows = load_dataset_folder(tmp_path / "georgia")
    assert sum(map(len, rows.values())) == len(rows["test"]) >= 38
