# SPDX-License-Identifier: Apache-2.0
"""A prompt is taken for a finding that the model was trained on, or is said not to be known."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoProcessor

import cgdmer
from cgdmer.commands import main
from cgdmer.data.trained_findings import merged, trained_findings
from cgdmer.data.wordings import load_wordings
from cgdmer.inference.scorers import load_scorer
from cgdmer.models.errors import ECGInputWarning, ModelFolderError
from cgdmer.models.prompt_findings import FILE_NAME, Finding, Findings, meaning_of
from recordings import write_wfdb

PROMPTS = json.loads((Path(__file__).parent / "prompts.json").read_text("utf-8"))
KINDS = sorted({entry["kind"] for entry in PROMPTS})


@pytest.fixture(scope="module")
def scorer():
    return load_scorer()


@pytest.mark.parametrize("kind", KINDS)
def test_the_shipped_model_says_which_prompts_it_knows(scorer, kind):
    entries = [entry for entry in PROMPTS if entry["kind"] == kind]
    found = scorer.pipeline.meanings([entry["prompt"] for entry in entries])
    wrong = [
        (one.prompt, one.known, one.finding)
        for one, entry in zip(found, entries, strict=True)
        if one.known is not (entry["finding"] is not None)
        or (entry["finding"] is not None and one.negated is not (kind == "negated"))
    ]
    assert len(wrong) <= 0.05 * len(entries), wrong
    other = [
        (one.prompt, one.finding, entry["finding"])
        for one, entry in zip(found, entries, strict=True)
        if one.known and entry["finding"] not in (None, one.finding)
    ]
    assert len(other) <= 0.05 * len(entries), other


def test_every_wording_of_the_tables_is_taken_for_its_finding(scorer):
    findings = scorer.pipeline.processor.findings
    for finding in findings.findings:
        for text in (finding.name, *finding.wordings):
            meaning = findings.meaning(text)
            if meaning.known is False and meaning.reason.startswith("it has a number"):
                continue
            assert meaning.known is (finding.known or meaning.finding is not None), text
            assert not meaning.known or meaning.similarity == 1, text


def findings_of(*entries):
    return Findings(Finding(name, count, (name, *more), ()) for name, count, *more in entries)


SMALL = findings_of(
    ("inferior infarction", 50, "inferior MI"),
    ("atrial fibrillation", 90),
    ("ventricular fibrillation", 0),
    ("WPW", 3),
)


@pytest.mark.parametrize(
    ("prompt", "known", "finding", "negated"),
    [
        ("Inferior infarction", True, "inferior infarction", False),
        ("infarction, inferior", True, "inferior infarction", False),
        ("ECG shows an inferior infarct", True, "inferior infarction", False),
        ("inferor infarcton", True, "inferior infarction", False),
        ("without inferior infarction", True, "inferior infarction", True),
        ("interior decoration", False, None, False),
        ("anterior infarction", False, None, False),
        ("ventricular fibrilation", False, None, False),
        ("WPW", False, None, False),
        ("atrial fibrillation at 140/min", False, None, False),
        ("more atrial fibrillation than before", False, None, False),
    ],
)
def test_what_a_prompt_is_taken_for(prompt, known, finding, negated):
    meaning = SMALL.meaning(prompt)
    assert (meaning.known, meaning.finding, meaning.negated) == (known, finding, negated)
    assert bool(meaning.reason) is not known
    assert meaning.text == finding or not known  # all wordings have one score


def test_words_of_trained_findings_are_decided_by_the_text_tower():
    meaning = SMALL.meaning("inferior fibrillation")
    assert meaning.known is None
    cosines = np.full(len(SMALL.known_wordings), 0.2, dtype=np.float32)
    assert SMALL.by_vector(meaning, torch.tensor(cosines)).known is False
    cosines[0] = 0.97
    decided = SMALL.by_vector(meaning, torch.tensor(cosines))
    assert (decided.known, decided.finding) == (True, "inferior infarction")


def test_counts_are_of_distinct_records():
    rows = [
        {"fingerprint": str(number % 12), "labels": ["AFIB", "SBRAD"], "statements": ["Atrial fibrillation.", "x"]}
        for number in range(40)
    ] + [{"fingerprint": "rare", "labels": ["a person's name"], "statements": ["A person's name."]}]
    findings = {one.name: one for one in trained_findings(rows, load_wordings(), worded=False).findings}
    assert findings["atrial fibrillation"].count == 12
    assert findings["irregular rhythm"].count == 12  # a general term, once a record
    assert "AF" in findings["atrial fibrillation"].synonyms
    assert "Vorhofflimmern" in findings["atrial fibrillation"].synonyms
    assert not any("person" in name for name in findings)
    assert findings["ventricular tach"].count == 0
    worded = {one.name: one for one in trained_findings(rows, load_wordings(), worded=True).findings}
    assert "AF" in worded["atrial fibrillation"].wordings


def test_findings_of_an_earlier_model_stay():
    both = {
        one.name: one
        for one in merged(findings_of(("a", 5, "aa"), ("b", 20)), findings_of(("a", 30), ("c", 40))).findings
    }
    assert {name: one.count for name, one in both.items()} == {"a": 30, "b": 20, "c": 40}
    assert both["a"].wordings == ("a", "aa")


def test_a_saved_processor_keeps_them(scorer, tmp_path):
    scorer.pipeline.processor.save_pretrained(tmp_path)
    again = AutoProcessor.from_pretrained(tmp_path, trust_remote_code=False)
    assert again.findings.findings == scorer.pipeline.processor.findings.findings
    (tmp_path / FILE_NAME).unlink()
    assert AutoProcessor.from_pretrained(tmp_path, trust_remote_code=False).findings is None


@pytest.mark.parametrize(
    "content", ["", "[]", '{"findings": [{"name": 1}]}', '{"findings": [{"name": "a", "count": "b"}]}']
)
def test_a_damaged_file_is_refused(tmp_path, content):
    (tmp_path / FILE_NAME).write_text(content)
    with pytest.raises(ModelFolderError, match=r"findings\.json does not list findings"):
        Findings.load(tmp_path / FILE_NAME)


def test_a_model_without_them_answers_as_it_is_asked():
    meaning = meaning_of("no broken leg.", None)
    assert (meaning.text, meaning.known, meaning.finding, meaning.negated) == ("broken leg", None, None, True)


def test_rows_say_what_a_label_was_taken_for(scorer):
    record = cgdmer.simulate_record(["atrial_fibrillation"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rows = {
            row["label"]: row for row in scorer(record, ["Vorhofflimmern", "no artial fibrillation", "broken leg"])
        }
    assert sum(issubclass(one.category, ECGInputWarning) and "broken leg" in str(one.message) for one in caught) == 1
    assert rows["Vorhofflimmern"]["finding"] == rows["no artial fibrillation"]["finding"] == "atrial fibrillation"
    assert rows["Vorhofflimmern"]["score"] == pytest.approx(1 - rows["no artial fibrillation"]["score"], abs=1e-6)
    assert rows["broken leg"]["known"] is False and rows["broken leg"]["finding"] is None
    assert set(rows["broken leg"]) == {"label", "score", "known", "finding", "similarity", "negated"}


def test_the_shell_gives_no_score_for_what_the_model_does_not_know(tmp_path, capsys):
    write_wfdb(cgdmer.simulate_record(["atrial_fibrillation"]), tmp_path / "patient")
    asked = ["classify", str(tmp_path / "patient"), "--labels", "broken leg", "AF", "--json"]
    assert main(asked) == 0
    first, last = json.loads(capsys.readouterr().out)["scores"]
    assert first["label"] == "AF" and first["score"] > 0.5
    assert last["label"] == "broken leg" and last["score"] is None
    assert main([*asked, "--force_unknown"]) == 0
    assert all(0 < row["score"] < 1 for row in json.loads(capsys.readouterr().out)["scores"])
    assert main(asked[:-1]) == 0
    shown = capsys.readouterr().out
    assert "taken for: atrial fibrillation" in shown and "?  broken leg  (not known to the model)" in shown
