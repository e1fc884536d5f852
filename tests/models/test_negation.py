# SPDX-License-Identifier: Apache-2.0
"""A denied finding is scored as one minus the finding, wherever scores are computed."""

import numpy as np
import pytest
import torch

import cgdmer
from cgdmer.evaluation.tasks import get_task
from cgdmer.inference.scorers import load_scorer
from cgdmer.models.errors import ECGInputWarning
from cgdmer.models.negation import asks_to_compare, without_denial


@pytest.mark.parametrize(
    ("prompt", "finding", "denied"),
    [
        ("no atrial fibrillation", "atrial fibrillation", True),
        ("No evidence of myocardial infarction", "myocardial infarction", True),
        ("there is no ST elevation", "ST elevation", True),
        ("without signs of ischemia", "ischemia", True),
        ("absence of P waves", "P waves", True),
        ("not normal", "normal", True),
        ("not a normal ECG", "normal ECG", True),
        ("negative for left ventricular hypertrophy", "left ventricular hypertrophy", True),
        ("kein Vorhofflimmern", "Vorhofflimmern", True),
        ("keine Hinweise auf Ischämie", "Ischämie", True),
        ("kein Nachweis von Ischämie", "Ischämie", True),
        ("pas de fibrillation auriculaire", "fibrillation auriculaire", True),
        ("absence d'onde P", "onde P", True),
        ("sin fibrilación auricular", "fibrilación auricular", True),
        ("senza ischemia", "ischemia", True),
        ("sem isquemia", "isquemia", True),
        ("not without pacing", "pacing", False),
        ("no atrial fibrillation.", "atrial fibrillation.", True),
        ("no abnormality, normal tracing", "no abnormality, normal tracing", False),
        ("no P waves; instead irregular waves", "no P waves; instead irregular waves", False),
        ("no Q waves but poor R progression", "no Q waves but poor R progression", False),
        ("atrial fibrillation", "atrial fibrillation", False),
        ("normal ECG", "normal ECG", False),
        ("nonspecific T wave changes", "nonspecific T wave changes", False),
        ("non-ST elevation infarction", "non-ST elevation infarction", False),
        ("infarction without ST elevation", "infarction without ST elevation", False),
        ("no longer elevated", "no longer elevated", False),
        ("sinus rhythm", "sinus rhythm", False),
        ("sinus bradycardia", "sinus bradycardia", False),
        ("semiautomatic pacing", "semiautomatic pacing", False),
        ("notched R wave", "notched R wave", False),
        ("no", "no", False),
    ],
)
def test_what_a_prompt_denies(prompt, finding, denied):
    assert without_denial(prompt) == (finding, denied)


TASKS = ["ptbxl-super", "ptbxl-sub", "ptbxl-all", "ptbxl-form", "ptbxl-rhythm", "cpsc2018", "csn", "simulated"]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("kind", ["name", "description", "ensemble"])
def test_no_packaged_prompt_denies(task, kind):
    """`evaluate` embeds them as they are."""
    for wordings in get_task(task).prompts(kind):
        assert not [text for text in wordings if without_denial(text)[1]]


@pytest.mark.parametrize("prompt", ["HR > 100", "heart rate above 100", "QT longer than 450 ms", "compared with 2019"])
def test_comparisons_are_seen(prompt):
    assert asks_to_compare(prompt)
    with pytest.warns(ECGInputWarning, match="a number or a comparison"):
        load_scorer().head([prompt])


@pytest.mark.parametrize("prompt", ["second degree AV block", "T wave inversion in V1 to V3", "new infarction", "LVH"])
def test_findings_are_no_comparisons(prompt):
    assert not asks_to_compare(prompt)


def test_one_minus_the_finding_everywhere():
    scorer, record = load_scorer(), cgdmer.simulate_record(["atrial_fibrillation"], seed=4)
    labels = ["atrial fibrillation", "no atrial fibrillation", "not normal", "normal"]
    rows = {row["label"]: row for row in scorer(record, labels)}
    for denied, finding in (("no atrial fibrillation", "atrial fibrillation"), ("not normal", "normal")):
        assert rows[denied]["score"] == pytest.approx(1 - rows[finding]["score"], abs=1e-6)
        assert rows[denied]["negated"] is True and rows[finding]["negated"] is False
    head = scorer.head(labels)
    inputs = scorer.feature_extractor(record, return_tensors="pt")
    with torch.no_grad():
        scores = head.scores(head.logits(head.features(scorer.model.base_model(**inputs))))[0]
    np.testing.assert_allclose(scores, [rows[label]["score"] for label in labels], atol=1e-5)
    exclusive = {row["label"]: row["score"] for row in scorer(record, labels[:2], exclusive=True)}
    assert sum(exclusive.values()) == pytest.approx(1)
    assert exclusive["atrial fibrillation"] > exclusive["no atrial fibrillation"]
