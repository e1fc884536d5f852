# SPDX-License-Identifier: Apache-2.0
"""Findings read back from texts, and what texts name, miss, and invent."""

import pytest

from cgdmer import model_path
from cgdmer.data.general_terms import GeneralTerms
from cgdmer.evaluation.stated_findings import compare_texts, stated_in
from cgdmer.models.prompt_findings import Findings

AF, LBBB, BLOCK = "atrial fibrillation", "complete left bundle branch block", "bundle branch block"


@pytest.fixture(scope="module")
def findings() -> Findings:
    found = Findings.of_model(model_path("cgdmer-tiny-ptbxl"))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "present", "absent", "unread"),
    [
        ("Atrial fibrillation.", {AF}, set(), 0),
        ("atrial fibrillation; complete left bundle branch block", {AF, LBBB}, set(), 0),
        ("AF with complete LBBB. No first degree AV block.", {AF, LBBB}, {"first degree AV block"}, 0),
        ("Vorhofflimmern\nkein Linksschenkelblock", {AF}, {"left bundle branch block of any degree"}, 0),
        ("Atrial fibrillation. No atrial fibrillation.", {AF}, {AF}, 0),
        ("The patient was discharged. QTc 430 ms.", set(), set(), 2),
        ("", set(), set(), 0),
    ],
)
def test_findings_are_read_back(text, present, absent, unread, findings):
    said = stated_in(text, findings)
    assert said.present == present and len(said.unread) == unread
    assert {name for name in absent if "left" not in name} <= said.absent and len(said.absent) == len(absent)
    assert said.contradictions == present & absent


def test_the_name_of_each_known_finding_is_read_as_itself(findings):
    known = [finding.name for finding in findings.findings if finding.known]
    assert {name: stated_in(f"{name[0].upper()}{name[1:]}.", findings).present for name in known} == {
        name: {name} for name in known
    }


def test_general_terms_are_neither_invented_nor_enough(findings):
    """A specific finding that is stated covers its general terms; a general one does not cover the specific one."""
    general = GeneralTerms(findings)
    assert BLOCK in general.with_general([LBBB]) and LBBB not in general.with_general([BLOCK])
    found = compare_texts(
        [f"{LBBB}.", f"{BLOCK}.", f"{AF}. {LBBB}.", "", f"{AF}. no {AF}."],
        [{BLOCK}, {LBBB}, {LBBB}, {AF}, set()],
        list("abcde"),
        findings,
    )
    # By text: invented LBBB; none; AF; none; AF. Missed: none; LBBB; none; AF; none.
    assert found["invented"] == pytest.approx(3 / 5) and found["missed"] == pytest.approx(2 / 5)
    assert found["precision"] == pytest.approx((0 + 1 + 0.5 + 0) / 4)
    assert found["recall"] == pytest.approx((1 + 0 + 1 + 0) / 4)
    assert found["contradictions"] == pytest.approx(1 / 5)
    low, high = found["invented_interval"]
    assert 0 <= low < found["invented"] < high


def test_general_terms_follow_the_table_of_wordings(findings):
    general, names = GeneralTerms(findings), [finding.name for finding in findings.findings if finding.known]
    above = general.of("anteroseptal myocardial infarction")
    assert {"myocardial infarction", "anterior myocardial infarction"} <= above
    assert not general.of("normal ECG") and "abnormal ECG" in general.of("left ventricular hypertrophy")
    for name in names:  # a term is above a finding or the other way around, never both
        assert name not in general.of(name) and all(name not in general.of(term) for term in general.of(name))


def test_each_finding_is_counted_on_its_own(findings):
    texts = [f"{AF}."] * 9 + ["", ""]
    found = compare_texts(texts, [{AF}] * 11, [str(number) for number in range(11)], findings)
    assert found["by_finding"] == {AF: {"records": 11, "stated": pytest.approx(9 / 11)}}
    few = compare_texts(texts[:9], [{AF}] * 9, list("abcdefghi"), findings)
    assert few["by_finding"] == {} and few["recall"] == 1.0
