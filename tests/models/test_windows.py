# SPDX-License-Identifier: Apache-2.0
"""Windows cover a recording, the last one ends where it ends, and by their weights each sample counts once."""

import numpy as np
import pytest

from cgdmer.models.windows import cut_windows


@pytest.mark.parametrize("length", [1, 7, 9, 10, 11, 19, 20, 21, 37, 100, 104])
def test_each_sample_counts_once(length):
    starts, weights = cut_windows(length, 10)
    first_seen_in = [next(row for row, start in enumerate(starts) if start <= at < start + 10) for at in range(length)]
    counts = np.bincount(first_seen_in, minlength=len(starts))
    np.testing.assert_allclose(weights, counts / length, rtol=1e-6)
    assert starts.tolist() == [*range(0, max(length - 10, 0), 10), max(length - 10, 0)]
    assert (starts.dtype, weights.dtype) == (np.int64, np.float32)


@pytest.mark.parametrize("length", [1, 4999, 5000])
def test_a_single_window_has_exactly_weight_one(length):
    starts, weights = cut_windows(length, 5000)
    assert starts.tolist() == [0] and weights.tolist() == [1.0]


def test_a_last_window_with_one_new_sample_hardly_counts():
    assert cut_windows(10_001, 5000)[1][-1] == pytest.approx(1 / 10_001)


@pytest.mark.parametrize(("length", "starts"), [(12, [0, 1, 2]), (13, [0, 2, 3]), (30, [0, 10, 20]), (10, [0])])
def test_evenly_spaced_windows_count_alike(length, starts):
    found, weights = cut_windows(length, 10, evenly=3)
    assert found.tolist() == starts
    np.testing.assert_allclose(weights, 1 / len(starts))
    assert (found.dtype, weights.dtype) == (np.int64, np.float32)


@pytest.mark.parametrize("length", [31, 45, 104])
def test_evenly_spaced_windows_are_more_if_they_would_leave_something_out(length):
    starts, _ = cut_windows(length, 10, evenly=3)
    seen = {at for start in starts for at in range(start, start + 10)}
    assert seen == set(range(length)) and len(starts) == -(-length // 10)
