# SPDX-License-Identifier: Apache-2.0
"""SciPy's `decimate` (Chebyshev type I of order 8, zero phase) as two convolutions, which have gradients.

A recursive filter on a signal that starts from rest is a convolution with its impulse response, which is cut off where
it no longer matters in single precision.
"""

from functools import lru_cache

import torch
from torch.nn import functional as F

_ORDER, _RIPPLE_DB, _EDGE = 8, 0.05, 0.8  # of SciPy's decimate; the edge is a share of the new Nyquist frequency
_REFLECTED = 3 * (_ORDER + 1)  # samples that SciPy adds at either end
_NEGLIGIBLE = 1e-10  # of the largest value of the impulse response


@lru_cache
def impulse_response(factor: int) -> tuple[float, ...]:
    import numpy as np
    from scipy.signal import cheby1, sosfilt  # takes half a second to import

    impulse = np.zeros(1000 * factor)
    impulse[0] = 1.0
    response = sosfilt(cheby1(_ORDER, _RIPPLE_DB, _EDGE / factor, output="sos"), impulse)
    last = np.flatnonzero(np.abs(response) > _NEGLIGIBLE * np.abs(response).max())[-1]
    return tuple(response[: last + 1].tolist())


def decimate(signal_BT: torch.Tensor, factor: int) -> torch.Tensor:
    """(B, ceil(T / factor)), as `scipy.signal.decimate(signal, factor)`; T is at least 28.

    The signal is reflected through its first and last value, then filtered forward and backward. Each pass starts as
    if its first value had been there forever.
    """
    if factor == 1:
        return signal_BT
    response = signal_BT.new_tensor(impulse_response(factor))
    before = 2 * signal_BT[:, :1] - signal_BT[:, 1 : _REFLECTED + 1].flip(1)
    after = 2 * signal_BT[:, -1:] - signal_BT[:, -_REFLECTED - 1 : -1].flip(1)
    signal_B1T = torch.cat([before, signal_BT, after], dim=1)[:, None]
    rest = len(response) - 1
    forward = F.conv1d(F.pad(signal_B1T, (rest, 0), mode="replicate"), response.flip(0)[None, None])
    forward = F.pad(forward[:, :, _REFLECTED:], (0, rest), mode="replicate")
    length = signal_BT.shape[1]
    return F.conv1d(forward, response[None, None], stride=factor)[:, 0, : -(-length // factor)]
