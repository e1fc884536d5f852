# SPDX-License-Identifier: Apache-2.0
"""Counts of a part that an earlier run left behind are those of its records, or refused."""

import numpy as np
import pytest

from cgdmer.data.tally import Tally, summarize
from cgdmer.models.ecg_record import ECGRecord


def counts() -> dict[str, dict[str, int]]:
    tally = Tally()
    for number in range(3):
        tally.add(ECGRecord(np.zeros((1, 200), np.float32), 100.0, ("I",), f"r{number}"))
    return {name: dict(counter) for name, counter in tally.counts.items()}


def test_whole_counts_are_taken():
    assert summarize({"train": Tally.checked(counts(), 3)})["seconds"]["median"] == 2.0


@pytest.mark.parametrize("name", ["seconds", "sampling_rates", "leads"])
@pytest.mark.parametrize("change", [dict.clear, lambda counter: counter.update({next(iter(counter)): 2})])
def test_counts_that_do_not_add_up(name, change):
    changed = counts()
    change(changed[name])
    with pytest.raises(ValueError, match=f"{name} are not counted for each record"):
        Tally.checked(changed, 3)
