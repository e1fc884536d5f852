# SPDX-License-Identifier: Apache-2.0
"""SIGTERM and Ctrl-C during a run: it saves a checkpoint at the end of a step and exits.

Exit codes are those of a process that the signal killed, 143 and 130. So Slurm and Kubernetes see a job that was
stopped, not finished; when they restart it, it continues with `--resume_from_checkpoint latest`. Both send SIGTERM and
wait 30 seconds by default before they kill (Slurm: `--signal=TERM@120` or KillWait; Kubernetes:
`terminationGracePeriodSeconds`). torchrun forwards the signal to every process, also waits 30 seconds
(`--shutdown-timeout`), and exits with its own code. `accelerate launch` with one process forwards nothing: if only the
launcher gets the signal, as in a container, start `python -m cgdmer.pretrain` or torchrun instead.
"""

import signal
import threading
import time
import traceback
from types import FrameType, TracebackType

import torch
from accelerate import Accelerator

_SECOND_PRESS = 1.0  # seconds; torchrun forwards a Ctrl-C that the terminal has already sent to every process


class StopRequest:
    """Notes signals while its block runs. A second Ctrl-C, at least a second after the first, stops at once."""

    def __init__(self, accelerator: Accelerator):
        self._accelerator = accelerator
        self._number = 0
        self._since = 0.0
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> "StopRequest":
        # Only the main thread may set handlers. A signal that is already ignored (background jobs) stays ignored.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            # Frees the loaders held by the error's frames, which ends their workers.
            traceback.clear_frames(trace)
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, _: FrameType | None) -> None:
        if not self._number:
            self._number, self._since = number, time.monotonic()
        elif number == signal.SIGINT and time.monotonic() - self._since > _SECOND_PRESS:
            raise KeyboardInterrupt

    def agreed(self, all_wait: bool) -> int:
        """The signal that stops the run at this step, the same on all processes; 0 for none.

        Args:
            all_wait: the processes wait for each other at this step anyway. At other steps several processes do not
                stop: asking each other takes time, and without it each would stop at a different step.
        """
        if self._accelerator.num_processes == 1:
            return self._number
        if not all_wait:
            return 0
        mine = torch.tensor([self._number], device=self._accelerator.device)
        return int(self._accelerator.gather(mine).max())
