# SPDX-License-Identifier: Apache-2.0
"""Arrhythmias and patterns are alone in their records, and change nothing else in a cohort."""

from itertools import islice

import numpy as np
import pytest

from cgdmer.models.errors import ConfigurationError
from cgdmer.simulation.cohort import simulate_cohort, simulate_record
from cgdmer.simulation.conditions import ARRHYTHMIAS, PATTERNS
from cgdmer.simulation.reports import NEGATIONS

GROUPS = {"arrhythmias": ARRHYTHMIAS, "patterns": PATTERNS}


@pytest.mark.parametrize("group", list(GROUPS))
def test_a_cohort_has_them_if_asked_and_keeps_its_other_records(group):
    names = set(GROUPS[group])
    usual = {one.record_id: one for one in islice(simulate_cohort(60, seed=3, sampling_rate=100), 60)}
    asked = list(islice(simulate_cohort(300, seed=3, sampling_rate=100, **{group: True}), 400))
    special = [one for one in asked if set(one.labels) & names]
    assert 0.15 < len(special) / len(asked) < 0.35
    assert {label for one in special for label in one.labels} == names
    assert all(len(one.labels) == 1 for one in special)
    for one in asked:
        if one.record_id in usual and one not in special:
            assert np.array_equal(one.signal, usual[one.record_id].signal) and one.text == usual[one.record_id].text
    assert not any(set(one.labels) & names for one in usual.values())


def test_a_cohort_can_have_both():
    both = islice(simulate_cohort(100, seed=3, sampling_rate=100, arrhythmias=True, patterns=True), 130)
    labels = {label for one in both for label in one.labels}
    assert labels & set(PATTERNS) and labels & set(ARRHYTHMIAS)


@pytest.mark.parametrize("name", [*ARRHYTHMIAS, *PATTERNS])
def test_reports_name_them_and_deny_nothing(name):
    for seed in range(20):
        record = simulate_record([name], seed=seed, sampling_rate=100)
        assert record.labels == (name,)
        assert record.statements[0] in {**ARRHYTHMIAS, **PATTERNS}[name].wordings
        assert record.statements[0] in record.text.lower()
        assert not any(denial in record.text.lower() for denial in NEGATIONS)


@pytest.mark.parametrize("name", ["ventricular_tachycardia", "pericarditis"])
@pytest.mark.parametrize("other", ["sinus_rhythm", "left_bundle_branch_block", "complete_av_block", "long_qt"])
def test_they_are_alone(name, other):
    with pytest.raises(ConfigurationError, match="exclude one another"):
        simulate_record([name, other])
