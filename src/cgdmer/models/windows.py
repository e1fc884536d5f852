# SPDX-License-Identifier: Apache-2.0
"""Where the windows of a long recording start, and how much each one counts."""

import numpy as np


def cut_windows(length: int, window: int, evenly: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Cut a recording into consecutive windows; the last one ends where the recording ends.

    Unless the length is a multiple of the window, the last window overlaps the one before. A window's weight is its
    share of new samples, so that every moment counts once in the mean over windows.

    Or space them evenly from the start to the end: then all of them have the same weight, and moments that are in
    several windows count more.

    Args:
        length: of the recording, in samples, at least 1.
        window: of the model, in samples. A recording no longer than this is one window.
        evenly: the number of evenly spaced windows; more if they would leave anything out.

    Returns:
        (windows,) int64, where each starts; and (windows,) float32 weights that sum to 1.
    """
    if evenly is not None and length > window:
        count = max(evenly, -(-length // window))
        starts = np.round(np.linspace(0, length - window, count)).astype(np.int64)
        return starts, np.full(count, 1 / count, dtype=np.float32)
    starts = np.arange(0, length, window)
    starts[-1] = max(length - window, 0)
    ends = np.minimum(starts + window, length)
    return starts, (np.diff(ends, prepend=0) / length).astype(np.float32)
