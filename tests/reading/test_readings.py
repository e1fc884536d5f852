# SPDX-License-Identifier: Apache-2.0
"""Readings: what they state, what they refuse to state, their schema, FHIR, and page."""

import json
from dataclasses import replace

import jsonschema
import numpy as np
import pytest
from fhir.resources.bundle import Bundle

from cgdmer.about import RESEARCH_USE_ONLY
from cgdmer.commands import main
from cgdmer.inference.operating_points import OperatingPoint, OperatingPoints
from cgdmer.inference.scorers import Scorer, load_scorer
from cgdmer.models.errors import ConfigurationError, ECGInputError
from cgdmer.reading.fhir import bundle_of
from cgdmer.reading.page import plot_reading
from cgdmer.reading.reading import read_ecg, schema
from cgdmer.simulation.cohort import simulate_record


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return load_scorer()


@pytest.fixture(scope="module")
def record():
    return simulate_record(["atrial_fibrillation", "right_bundle_branch_block"], seed=1)


@pytest.fixture(scope="module")
def reading(scorer, record):
    return read_ecg(record, scorer)


def check_schema(reading) -> dict:
    answer = json.loads(json.dumps(reading.as_json(), allow_nan=False))
    jsonschema.Draft202012Validator(schema()).validate(answer)
    return answer


def test_the_schema_is_one_and_refuses_what_is_not_a_reading(reading):
    jsonschema.Draft202012Validator.check_schema(schema())
    answer = check_schema(reading)
    for change in (
        {"research_use_only": False},
        {"findings": [{**answer["findings"][0], "score": 1.2}]},
        {"judged": False},
        {"more": 1},
        {"record_use": None},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.Draft202012Validator(schema()).validate({**answer, **change})


def test_a_reading_states_the_specific_findings_and_nothing_below_its_threshold(reading, scorer, record):
    scores = {row["label"]: row["score"] for row in scorer(record, [one.finding for one in reading.findings])}
    assert len(scores) == sum(finding.known for finding in scorer.pipeline.processor.findings.findings)
    for one in reading.findings:
        assert one.score == pytest.approx(scores[one.finding], abs=1e-5)
        assert one.present is (one.score >= 0.5) and not one.is_probability
        assert one.implied_by is None or one.present
    assert [one.score for one in reading.findings] == sorted((one.score for one in reading.findings), reverse=True)
    stated = {one.finding for one in reading.present}
    assert stated == {"atrial fibrillation", "complete right bundle branch block"}
    assert reading.statement() == "Complete right bundle branch block. Atrial fibrillation."
    implied = {one.finding: one.implied_by for one in reading.findings if one.implied_by}
    assert implied["bundle branch block"] == "complete right bundle branch block"
    assert implied["atrial fibrillation or flutter"] == "atrial fibrillation"


def test_relevance_is_that_of_explain_and_only_of_the_highest_findings(reading):
    explained = [one for one in reading.findings if one.relevance is not None]
    assert explained == reading.present[:2]
    for one in explained:
        shares = one.relevance.share_by_lead
        assert sum(shares.values()) == pytest.approx(1) and sum(one.relevance.share_by_patch) == pytest.approx(1)
        assert len(one.relevance.share_by_patch) == 25 and one.relevance.patch_seconds == pytest.approx(0.4)


def test_thresholds_of_a_calibrated_model_decide(scorer, record):
    point = OperatingPoint(0.5, -1.0, 0.9, (0.8, 0.95), 0.5, (0.4, 0.6), 0.9, (0.8, 0.95), 20, 200)
    calibrated = Scorer(scorer.pipeline, OperatingPoints({"atrial fibrillation": point}, "rule", "data"))
    reading = read_ecg(
        record, calibrated, ["atrial fibrillation", "complete right bundle branch block"], relevance=False
    )
    check_schema(reading)
    by_name = {one.finding: one for one in reading.findings}
    fibrillation = by_name["atrial fibrillation"]
    assert fibrillation.is_probability and fibrillation.threshold == 0.9 and not fibrillation.present
    assert fibrillation.threshold_from == "calibration"
    other = by_name["complete right bundle branch block"]
    assert not other.is_probability and other.present and other.threshold == 0.5
    assert "No thresholds were chosen for 1 of 2 findings" in "\n".join(reading.lines())


def unusable(record):
    silent = replace(record, signal=np.zeros_like(record.signal))
    short = replace(record, signal=record.signal[:, :400])
    return {"flat": silent, "too short": short, "wrong unit": replace(record, signal=record.signal * 1000)}


@pytest.mark.parametrize("kind", ["flat", "too short", "wrong unit"])
def test_a_recording_that_cannot_be_judged_gets_a_reading_that_says_so(kind, scorer, record):
    reading = read_ecg(unusable(record)[kind], scorer)
    answer = check_schema(reading)
    assert not answer["judged"] and answer["findings"] == [] and answer["not_judged"]
    assert reading.statement().startswith("No findings are given.")
    report = bundle_of(reading)["entry"][0]["resource"]
    assert report["status"] == "cancelled" and "result" not in report
    Bundle.model_validate(bundle_of(reading))
    texts = [text.get_text() for axes in plot_reading(reading, unusable(record)[kind]).axes for text in axes.texts]
    assert "Not judged" in texts and not any("threshold" in text for text in texts)


def test_unfamiliar_recordings_are_not_judged_if_asked(scorer, record, reading):
    stricter = read_ecg(record, scorer, abstain=min(0.99, reading.familiarity + 0.01))
    assert not stricter.is_judged and "Unlike the recordings" in stricter.not_judged[0]
    check_schema(stricter)


def test_fhir_has_what_was_measured_and_found_and_passes_the_library(reading):
    bundle = bundle_of(reading)
    Bundle.model_validate(bundle)
    resources = [entry["resource"] for entry in bundle["entry"]]
    report, observations = resources[0], resources[1:]
    assert report["resourceType"] == "DiagnosticReport" and RESEARCH_USE_ONLY in report["conclusion"]
    assert {one["reference"] for one in report["result"]} == {entry["fullUrl"] for entry in bundle["entry"][1:]}
    by_code = {
        one["code"]["coding"][0]["code"]: one["valueQuantity"] for one in observations if "coding" in one["code"]
    }
    assert by_code["8867-4"]["value"] == pytest.approx(reading.measured.rate.heart_rate, abs=0.06)
    assert by_code["8633-0"]["value"] == pytest.approx(1000 * reading.measured.intervals.qrs_duration, abs=0.6)
    found = [one["code"]["text"] for one in observations if "text" in one["code"]]
    assert found == [one.finding for one in reading.present]
    for one in resources:
        assert one["meta"]["tag"][0]["code"] == "research-use-only" and one["status"] == "preliminary"
    assert bundle == bundle_of(reading)


def test_the_page_is_one_a4_sheet_with_all_leads_and_the_disclaimer(reading, record):
    figure = plot_reading(reading, record)
    assert np.allclose(figure.get_size_inches() * 25.4, (210, 297))
    sheet, paper = figure.axes
    texts = [text.get_text() for text in sheet.texts]
    assert RESEARCH_USE_ONLY in texts and any("Atrial fibrillation: score" in text for text in texts)
    assert {text.get_text() for text in paper.texts} >= {"I", "aVR", "V6"}
    assert any(text.get_text().startswith("16 mm/s  6.4 mm/mV") for text in paper.texts)
    # One second of the paper is as wide as the footer says.
    box = paper.get_position()
    millimeters = 25 * box.width * 210 / np.ptp(paper.get_xlim())
    assert millimeters == pytest.approx(16.0, abs=0.05)
    renderer = figure.canvas.get_renderer()
    for text in [*sheet.texts, *paper.texts]:
        extent = text.get_window_extent(renderer)
        assert extent.x0 >= 0 and extent.x1 <= figure.bbox.x1 and extent.y0 >= 0


def test_a_page_with_far_too_much_to_say_keeps_its_foot_free(reading, record):
    wordy = replace(reading, remarks=("a remark that goes on and on " * 60,) * 5)
    figure = plot_reading(wordy, record)
    lines = [text for text in figure.axes[0].texts if text.get_gid() in ("line", "section")]
    foot = [text for text in figure.axes[0].texts if text.get_gid() == "foot"]
    assert "There is no room for more" in lines[-1].get_text()
    assert min(line.get_position()[1] for line in lines) > max(line.get_position()[1] for line in foot) + 3


def test_the_command_writes_all_forms_and_says_why_a_file_cannot_be_read(tmp_path, capsys):
    record = simulate_record(["inferior_infarction"], seed=3)
    path = tmp_path / "trace.csv"
    header = ",".join(record.lead_names)
    np.savetxt(path, record.signal.T, delimiter=",", header=header, comments="", fmt="%.3f")
    page, fhir = tmp_path / "reading.pdf", tmp_path / "bundle.json"
    given = ["--sampling_rate", "500", "--unit", "mV"]
    assert main(["report", str(path), *given, "--plot", str(page), "--fhir", str(fhir), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator(schema()).validate(answer)
    assert answer["judged"] and page.read_bytes().startswith(b"%PDF")
    Bundle.model_validate(json.loads(fhir.read_text()))
    damaged = tmp_path / "damaged.edf"
    damaged.write_bytes(b"0       " + b"\xff" * 600)
    assert main(["report", str(damaged), "--plot", str(page)]) == 0
    said = capsys.readouterr().out
    assert "No findings are given." in said and "damaged.edf" in said and RESEARCH_USE_ONLY in said


def test_labels_that_the_model_does_not_know_are_named_and_wrong_ones_refused(scorer, record):
    reading = read_ecg(record, scorer, ["atrial fibrillation", "torsades de pointes"], relevance=False)
    assert [one.finding for one in reading.findings] == ["atrial fibrillation"]
    assert "Not known to the model, so not judged: torsades de pointes." in reading.lines()
    nothing = read_ecg(record, scorer, ["torsades de pointes"])
    assert not nothing.is_judged and "torsades" in nothing.statement()
    check_schema(nothing)
    with pytest.raises(ECGInputError, match="empty"):
        read_ecg(record, scorer, [" "])


def test_a_denied_finding_implies_nothing(scorer):
    """It is present, since the finding is not, but its general term is present by itself."""
    healthy, block = simulate_record(["sinus_rhythm"], seed=1), "complete left bundle branch block"
    reading = read_ecg(healthy, scorer, [f"no {block}", "no bundle branch block", "rhythm of the sinus node"])
    assert {one.finding for one in reading.present} == {one.finding for one in reading.findings if one.present}
    assert f"no {block}" in {one.finding for one in reading.present}


def test_a_wrong_path_is_no_reading(tmp_path, capsys):
    assert main(["report", str(tmp_path / "nowhere"), "--json"]) == 1
    said = capsys.readouterr()
    assert not said.out and "does not exist" in said.err


def test_what_cannot_be_read_out_is_refused(scorer, record):
    with pytest.raises(ConfigurationError, match="abstain is 2"):
        read_ecg(record, scorer, abstain=2.0)
