# SPDX-License-Identifier: Apache-2.0
"""Worker processes of data loaders."""

import signal

_GRACE = 30  # seconds between SIGTERM and SIGKILL, as schedulers give a job


def outlive_signals(_: int) -> None:
    """Make a data loader's worker work on until its run has stopped, although schedulers signal it too.

    But not forever: a main process that fails ends its workers with SIGTERM and waits for them.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_GRACE))
