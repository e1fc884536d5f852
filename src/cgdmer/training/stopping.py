# SPDX-License-Identifier: Apache-2.0
"""SIGTERM and Ctrl-C during a run: it saves a checkpoint at the end of a step and leaves.

Exit codes are those of a process that the signal killed, 143 and 130: to Slurm and Kubernetes the job was stopped and
is not done, so that what they start again goes on with `--resume_from_checkpoint latest`. Both send SIGTERM and wait
30 seconds by default before they kill (Slurm: `--signal=TERM@120` or KillWait; Kubernetes:
`terminationGracePeriodSeconds`). torchrun hands the signal on to every process, waits 30 seconds as well
(`--shutdown-timeout`), and leaves with its own code. `accelerate launch` of one process hands nothing on: where the
signal comes to the launcher alone, as in a container, start `python -m cgdmer.pretrain` or torchrun instead.
"""

import signal
import threading
import time
import traceback
from types import FrameType, TracebackType

import torch
from accelerate import Accelerator

_A_SECOND_PRESS = 1.0  # seconds; torchrun hands on a Ctrl-C that the terminal has sent to every process already


class StopRequest:
    """Notes the signals while its block runs. A second Ctrl-C, a second or more after the first, stops at once."""

    def __init__(self, accelerator: Accelerator):
        self._accelerator = accelerator
        self._number = 0
        self._since = 0.0
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> "StopRequest":
        # Only the main thread may set handlers. A signal that came ignored (a shell's background job) stays ignored.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            # Frees the loaders that the error's frames hold, which ends their workers.
            traceback.clear_frames(trace)
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, _: FrameType | None) -> None:
        if not self._number:
            self._number, self._since = number, time.monotonic()
        elif number == signal.SIGINT and time.monotonic() - self._since > _A_SECOND_PRESS:
            raise KeyboardInterrupt

    def agreed(self, all_wait: bool) -> int:
        """The signal that stops the run at this step, on all processes alike; 0 for none.

        Args:
            all_wait: the processes wait for each other at this step anyway. Elsewhere several processes go on, because
                asking the others costs time, and each by itself would stop at another step.
        """
        if self._accelerator.num_processes == 1:
            return self._number
        if not all_wait:
            return 0
        mine = torch.tensor([self._number], device=self._accelerator.device)
        return int(self._accelerator.gather(mine).max())


def leave(number: int, message: str) -> None:
    """End the program as the signal would have.

    Raises:
        KeyboardInterrupt: after Ctrl-C, with the message.
        SystemExit: after SIGTERM, with code 143.
    """
    if number == signal.SIGINT:
        raise KeyboardInterrupt(message)
    print(message, flush=True)
    raise SystemExit(128 + number)
