# SPDX-License-Identifier: Apache-2.0
"""Where the windows of a long recording begin, and how much each of them counts."""

import numpy as np


def cut_windows(length: int, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut a recording into windows one after the other; the last one ends with the recording.

    That last window overlaps the one before unless the length is a multiple. Weighted by what of each window is new,
    every moment of the recording counts once in a mean over windows.

    Args:
        length: of the recording in samples, 1 or more.
        window: of the model in samples. A recording no longer than that is one window.

    Returns:
        (windows,) int64 where each begins, and (windows,) float32 weights that add up to 1.
    """
    starts = np.arange(0, length, window)
    starts[-1] = max(length - window, 0)
    ends = np.minimum(starts + window, length)
    return starts, (np.diff(ends, prepend=0) / length).astype(np.float32)
