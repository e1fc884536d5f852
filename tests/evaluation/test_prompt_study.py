# SPDX-License-Identifier: Apache-2.0
"""Zero-shot in other words: what each text is taken for, and its AUROC both ways."""

import csv
from itertools import islice

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from cgdmer.data.storage import DatasetRecords, load_dataset_folder
from cgdmer.data.writing import write_dataset
from cgdmer.evaluation.arguments import EvaluationArguments
from cgdmer.evaluation.evaluate import evaluate_model
from cgdmer.evaluation.prompt_study import KINDS, UNRELATED, misspelt, study_table
from cgdmer.inference.scorers import load_scorer
from cgdmer.presets import SHIPPED_MODEL
from cgdmer.simulation.cohort import simulate_cohort


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort") / "ecgs"
    write_dataset(
        islice(simulate_cohort(60, seed=3, sampling_rate=100), 60),
        folder,
        splits=lambda _: "test",
        description="Some.",
    )
    return folder


@pytest.fixture(scope="module")
def studied(dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    arguments = EvaluationArguments(
        str(SHIPPED_MODEL), str(dataset), ["simulated"], skip_linear_probe=True, prompt_study=True, output_dir=str(out)
    )
    (results,) = evaluate_model(arguments).values()
    return results["prompt_study"], out


def test_texts_are_what_their_kind_says(studied):
    rows, _ = studied
    assert {row["kind"] for row in rows} == set(KINDS)
    known = {kind: [row["known"] for row in rows if row["kind"] == kind] for kind in KINDS}
    assert not any(known["unrelated"]) and all(known["language"]) and np.mean(known["misspelt"]) > 0.8
    for row in rows:
        assert (row["auroc_answered"] is None) == (row["known"] is False)
        assert row["negated"] == (row["kind"] == "denied")
        assert 0 <= row["auroc"] <= 1


def test_a_denied_finding_has_one_minus_the_findings_auroc(studied):
    rows, _ = studied
    for name in {row["class"] for row in rows}:
        plain = {row["auroc_answered"] for row in rows if row["class"] == name and row["kind"] == "synonym"}
        denied = {row["auroc_answered"] for row in rows if row["class"] == name and row["kind"] == "denied"} - {None}
        for one in denied:
            assert any(abs(one - (1 - other)) < 1e-6 for other in plain)


def test_aurocs_are_those_of_scores(studied, dataset):
    rows, _ = studied
    scorer, split = load_scorer(), load_dataset_folder(dataset)["test"]
    records = DatasetRecords(split)
    asked = [row for row in rows if row["kind"] in ("synonym", "denied") and row["known"]][:6]
    for row in asked:
        held = [row["class"] in labels for labels in split["labels"]]
        scores = [scorer(record, [row["text"]])[0]["score"] for record in records]
        assert roc_auc_score(held, scores) == pytest.approx(row["auroc_answered"], abs=2e-3)


def test_is_written_and_summed_up(studied):
    rows, out = studied
    with open(next(out.rglob("prompt_study.csv")), newline="") as file:
        written = list(csv.DictReader(file))
    assert [row["text"] for row in written] == [row["text"] for row in rows]
    heads, lines = study_table(rows)
    assert [line[0] for line in lines] == list(KINDS) and all(len(line) == len(heads) for line in lines)
    assert lines[-1][1] == str(len(UNRELATED) * len({row["class"] for row in rows}))
    assert "## Other words" in next(out.rglob("report.md")).read_text()


def test_misspellings_change_one_word():
    assert misspelt("normal ECG") == ["noral ECG", "nomral ECG", "normmal ECG"]
    assert misspelt("atrial fibrillation") == ["atrial fibrilation", "atrial fibrilllation"]
    assert misspelt("AF") == []
