# SPDX-License-Identifier: Apache-2.0
"""Worker processes of data loaders."""

import signal

_GRACE = 30  # seconds that schedulers give a job between SIGTERM and SIGKILL


def outlive_signals(_: int) -> None:
    """For data loader workers, to whom schedulers send the signals too: they work on until their run has stopped.

    Not for ever: a main process that fails ends its workers by SIGTERM and waits for them.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_GRACE))
