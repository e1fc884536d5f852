# SPDX-License-Identifier: Apache-2.0
"""A report says everything that the results say, in forms that other programs can read."""

import csv
import itertools
import json
import re

import numpy as np
import pytest

from cgdmer.about import RESEARCH_USE_ONLY
from cgdmer.evaluation.reliability import reliability
from cgdmer.evaluation.report import (
    IN_DOMAIN,
    terminal_table,
    write_markdown,
    write_per_class_csv,
    write_results_json,
)
from cgdmer.evaluation.statistics import measure

CLASSES = ("NORM", "NST_", "left | right", "none of it", "HYP")


def make_results(**changes):
    """Three measures, two of them also untrained; the second class has four records, the fourth none."""
    random = np.random.default_rng(0)
    labels = random.random((200, 5)) < 0.3
    labels[:, 1] = np.arange(200) < 4
    labels[:, 3] = False
    patients = [str(number // 2) for number in range(200)]

    def one(strength):
        scores = strength * labels + random.normal(size=labels.shape)
        cuts = np.array([0.5, np.nan, 0.5, 0.5, 0.5])
        return measure(labels, scores, CLASSES, patients, thresholds=cuts)

    return {
        "task": "ptbxl-super",
        "protocol": "repaired",
        "prompts": "descriptions",
        "probed_feature": "embeds",
        "splits": ["test", "test_b"],
        "in_domain": False,
        "records_without_label": 17,
        "measures": {"zero-shot": one(1.0), "linear probe 1 %": one(1.5), "linear probe 100 %": one(2.0)},
        "untrained": {"zero-shot": one(0.0), "linear probe 100 %": one(0.3)},
        "groups": {"sex": [{"name": "female", "zero-shot": one(1.0)}, {"name": "male", "zero-shot": one(0.8)}]},
        "robustness": {},
        "calibration": reliability(labels, random.random(labels.shape)),
        "command": "cgdmer evaluate MODEL --tasks ptbxl-super",
        **changes,
    }


def line_of(text: str, start: str) -> list[str]:
    """The cells, two spaces apart, of the only line with this start."""
    (line,) = [line for line in text.splitlines() if re.match(re.escape(start) + r"(  |$)", line)]
    return re.split(r" {2,}", line)


def test_terminal_table_has_a_row_per_measure_and_a_row_per_class():
    results = make_results()
    table = terminal_table(results)
    for name, result in results["measures"].items():
        low, high = result["macro_auroc_interval"]
        untrained = results["untrained"].get(name)
        assert line_of(table, name) == [
            name,
            f"{result['macro_auroc']:.3f}",
            f"{low:.3f} to {high:.3f}",
            f"{untrained['macro_auroc']:.3f}" if untrained else "-",
            f"{result['macro_auprc']:.3f}",
            f"{result['macro_f1']:.3f}",
            f"{result['macro_sensitivity']:.3f}",
            f"{result['macro_specificity']:.3f}",
        ]
    for label, row in results["measures"]["zero-shot"]["per_class"].items():
        values = [f"{result['per_class'][label]['auroc']:.3f}" for result in results["measures"].values()]
        shown = label + ("*" if label == "NST_" else "")
        assert line_of(table, shown) == [shown, str(row["positives"]), *values]
    assert "* fewer than 10 positive records" in table
    assert table.splitlines()[-1] == "Left out, without positive or negative records: none of it."
    for said in (
        "ptbxl-super",
        "repaired",
        "descriptions",
        "200 records of 100 patients",
        "test, test_b",
        "17 without",
    ):
        assert said in table
    assert "nan" not in table


def test_columns_of_the_terminal_table_are_aligned():
    results = make_results()
    lines = terminal_table(results).splitlines()
    (head,) = [line for line in lines if "macro AUROC" in line]
    for name, result in results["measures"].items():
        (row,) = [line for line in lines if line.startswith(f"{name}  ")]
        for column in ("macro AUROC", "macro AUPRC", "macro F1"):
            value = f"{result[column.lower().replace(' ', '_')]:.3f}"
            assert row[: head.index(column) + len(column)].endswith(f" {value}")
    (first,) = [number for number, line in enumerate(lines) if line.startswith("AUROC by class")]
    assert len({len(line) for line in lines[first : first + 5]}) == 1


def test_what_could_not_be_measured_is_a_dash():
    results = make_results()
    for group in ("measures", "untrained"):
        for name, result in results[group].items():
            if name == "zero-shot":
                del result["macro_specificity"]
    row = results["measures"]["linear probe 1 %"]
    row["per_class"]["HYP"]["auroc"] = float("nan")
    row["macro_auroc"], row["macro_auroc_interval"] = float("nan"), [float("nan")] * 2
    table = terminal_table(results)
    assert line_of(table, "linear probe 1 %")[1:4] == ["-", "-", "-"]
    assert line_of(table, "zero-shot")[-1] == "-"
    assert line_of(table, "HYP")[3] == "-"
    assert "nan" not in table


def test_without_thresholds_there_are_no_columns_that_need_them():
    results = make_results()
    for group in ("measures", "untrained"):
        for result in results[group].values():
            for metric in ("f1", "sensitivity", "specificity"):
                del result[f"macro_{metric}"]
    table = terminal_table(results)
    assert "macro AUPRC" in table and "F1" not in table and "specificity" not in table


def test_json_read_back_gives_the_same_table(tmp_path):
    results = make_results()
    write_results_json(tmp_path / "results.json", results)
    again = json.loads((tmp_path / "results.json").read_text(), parse_constant=pytest.fail)
    assert again["measures"]["zero-shot"]["per_class"]["NST_"]["f1"] is None
    assert again["measures"]["zero-shot"]["macro_auroc"] == results["measures"]["zero-shot"]["macro_auroc"]
    assert terminal_table(again) == terminal_table(results)
    write_per_class_csv(tmp_path / "one.csv", results)
    write_per_class_csv(tmp_path / "other.csv", again)
    assert (tmp_path / "one.csv").read_text() == (tmp_path / "other.csv").read_text()


def test_json_is_strict_and_takes_numpy(tmp_path):
    path = tmp_path / "results.json"
    values = {"a": np.float32(0.5), "b": np.array([1.0, np.nan]), "c": (np.nan, np.int64(3)), "d": np.bool_(True)}
    write_results_json(path, {"nested": [values]})
    assert json.loads(path.read_text(), parse_constant=pytest.fail) == {
        "nested": [{"a": 0.5, "b": [1.0, None], "c": [None, 3], "d": True}]
    }
    with pytest.raises(ValueError):
        write_results_json(path, {"a": float("inf")})


def test_csv_read_back_is_the_results(tmp_path):
    results = make_results()
    write_per_class_csv(tmp_path / "per_class.csv", results)
    with open(tmp_path / "per_class.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    expected = [
        (model, name, label)
        for model, group in (("trained", "measures"), ("untrained", "untrained"))
        for name, result in results[group].items()
        for label in [*result["per_class"], *result["left_out"]]
    ]
    assert [(row["model"], row["measure"], row["class"]) for row in rows] == expected
    for row in rows:
        result = results["measures" if row["model"] == "trained" else "untrained"][row["measure"]]
        assert (row["task"], row["protocol"]) == ("ptbxl-super", "repaired")
        known = result["per_class"].get(row["class"])
        if known is None:
            assert row["class"] == "none of it" and row["positives"] == row["auroc"] == row["f1_high"] == ""
            continue
        assert int(row["positives"]) == known["positives"] and int(row["records"]) == 200
        assert row["few_positives"] == ("true" if known["few_positives"] else "false")
        for metric in ("auroc", "auprc", "f1", "sensitivity", "specificity"):
            numbers = [float(row[metric + end] or "nan") for end in ("", "_low", "_high")]
            np.testing.assert_array_equal(numbers, [known[metric], *known[f"{metric}_interval"]])


def test_numbers_that_numpy_does_not_take():
    results = make_results()
    results["measures"]["zero-shot"]["macro_auprc"] = 2**70  # JSON from elsewhere may hold it
    assert f"{2**70:.3f}" in terminal_table(results)


def markdown(tmp_path, results, figures=None):
    (tmp_path / "report").mkdir(exist_ok=True)
    write_markdown(tmp_path / "report" / "report.md", results, figures or {})
    return (tmp_path / "report" / "report.md").read_text()


def test_markdown_says_what_was_done_and_shows_every_class_and_figure(tmp_path):
    figures = {
        "AUROC by class": tmp_path / "report" / "per class.png",
        "ROC": str(tmp_path / "elsewhere" / "roc.svg"),
        "to print": tmp_path / "report" / "roc.pdf",
    }
    results = make_results()
    text = markdown(tmp_path, results, figures)
    assert "![AUROC by class](per%20class.png)" in text
    assert "![ROC](../elsewhere/roc.svg)" in text
    assert "\n[to print](roc.pdf)" in text
    assert str(tmp_path) not in text
    assert RESEARCH_USE_ONLY in text
    assert f"```\n{results['command']}\n```" in text
    facts = {"protocol": "repaired", "prompts": "descriptions", "feature of linear probes": "embeds"}
    for key, value in (facts | {"test splits": "test, test_b"}).items():
        assert f"| {key} | {value} |" in text
    for key, value in (("task", "ptbxl-super"), ("records", "200"), ("patients", "100"), ("in-domain", "no")):
        assert f"| {key} | {value} |" in text
    for label in ("NORM", r"NST_\*", r"left \| right", "HYP"):
        assert len(re.findall(rf"^\| {re.escape(label)} \|", text, re.MULTILINE)) == 5, label
    assert "Left out, without positive or negative records: none of it." in text
    assert "nan" not in text


def test_tables_of_the_report_are_whole_and_hold_the_numbers(tmp_path):
    results = make_results()
    lines = markdown(tmp_path, results).splitlines()
    for before, line in itertools.pairwise(lines):
        if before.startswith("|") and line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", before)) == len(re.findall(r"(?<!\\)\|", line))
    probe, untrained = results["measures"]["linear probe 100 %"], results["untrained"]["linear probe 100 %"]
    for model, result in (("trained", probe), ("untrained", untrained)):
        low, high = result["macro_auroc_interval"]
        start = f"| linear probe 100 % | {model} | {result['macro_auroc']:.3f} ({low:.3f} to {high:.3f}) |"
        assert sum(line.startswith(start) for line in lines) == 1
    part = lines[lines.index("## AUPRC by class") :]
    heads = [cell.strip() for cell in part[2].strip("|").split("|")]
    (row,) = [line for line in part[: part.index("## F1 by class")] if line.startswith("| HYP |")]
    cells = dict(zip(heads, (cell.strip() for cell in row.strip("|").split("|")), strict=True))
    assert cells["linear probe 100 %"].startswith(f"{probe['per_class']['HYP']['auprc']:.3f} (")
    assert cells["linear probe 100 %, untrained"] == f"{untrained['per_class']['HYP']['auprc']:.3f}"
    assert "linear probe 1 %, untrained" not in heads


@pytest.mark.parametrize(
    ("overlap", "said"),
    [
        (None, "Whether the model was trained on some of these records is unknown."),
        ({"records": 0, "patients": None}, "trained on 0 of these records. Patients were not checked"),
        ({"records": 1234, "patients": 2000}, "trained on 1,234 of these records, and on patients of 2,000."),
    ],
)
def test_what_is_not_known_about_training_patients_is_said(tmp_path, overlap, said):
    assert said in markdown(tmp_path, make_results() | {"overlap": overlap})


@pytest.mark.parametrize("in_domain", [True, False])
def test_in_domain_is_said_only_if_it_is_true(tmp_path, in_domain):
    results = make_results(in_domain=in_domain)
    assert (IN_DOMAIN in markdown(tmp_path, results)) == in_domain
    assert (IN_DOMAIN in terminal_table(results)) == in_domain


def test_a_report_without_zero_shot_names_no_prompts(tmp_path):
    results = make_results(prompts=None)
    del results["measures"]["zero-shot"], results["untrained"]["zero-shot"]
    assert "prompts" not in terminal_table(results)
    assert "| prompts | - |" in markdown(tmp_path, results)


def test_markdown_has_groups_disturbances_and_calibration(tmp_path):
    results = make_results()
    write_markdown(tmp_path / "report.md", results, {})
    text = (tmp_path / "report.md").read_text()
    female = results["groups"]["sex"][0]["zero-shot"]
    low, high = female["macro_auroc_interval"]
    assert f"| sex | female | 200 | {female['macro_auroc']:.3f} ({low:.3f} to {high:.3f}) |" in text
    assert "## Robustness" not in text
    calibration = results["calibration"]
    assert f"differ by {calibration['expected_calibration_error']:.3f}" in text
    first = calibration["bins"][0]
    assert f"| {first['mean_score']:.3f} | {first['share_positive']:.3f} | {first['scores']} |" in text
