# SPDX-License-Identifier: Apache-2.0
"""A run's output folder belongs to one run at a time, and a disk that is full ends the run with a message."""

import contextlib
import errno
import re
from collections.abc import Iterator
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from filelock import FileLock, Timeout
from safetensors import SafetensorError

from cgdmer.files.writing import LOCK_PATIENCE
from cgdmer.models.errors import TrainingError

LOCK = ".lock"
# A full disk, a used-up quota, a file larger than allowed, a read-only disk or folder, a disk that fails.
_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
_CODE_OF_SAFETENSORS = re.compile(r"os error (\d+)")


@contextlib.contextmanager
def claimed(accelerator: Accelerator, folder: Path, advice: str) -> Iterator[None]:
    """Keep a folder for this run. All processes enter it together; the main one makes the folder and holds its lock.

    Args:
        advice: what to do once the folder can be written again.

    Raises:
        TrainingError: another run writes to the folder; or, from the block too, it cannot be written.
    """
    lock = FileLock(folder / LOCK)
    try:
        with _writing(folder, advice):
            _claim(accelerator, folder, lock)
            yield
    finally:
        lock.release()


def _claim(accelerator: Accelerator, folder: Path, lock: FileLock) -> None:
    outcome: list[Exception | None] = [None]
    if accelerator.is_main_process:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=LOCK_PATIENCE, poll_interval=0.1)
        except Timeout:
            outcome[0] = TrainingError(
                f"another run is writing to {folder}. Wait until it ends, or name another output folder."
            )
        except FileExistsError:
            outcome[0] = TrainingError(f"{folder} is a file. Name a folder for the run.")
        except OSError as error:
            outcome[0] = error
    broadcast_object_list(outcome)  # else the others would wait for the main process
    if outcome[0] is not None:
        raise outcome[0]


@contextlib.contextmanager
def _writing(folder: Path, advice: str) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        if not _is_unwritable(error, folder):
            raise
        raise TrainingError(
            f"{folder} cannot be written: {error}. Free space, or give permission. {advice}"
        ) from error


def _is_unwritable(error: Exception, folder: Path) -> bool:
    if isinstance(error, SafetensorError):  # has the code only in its words
        code = _CODE_OF_SAFETENSORS.search(str(error))
        return code is not None and int(code[1]) in _UNWRITABLE
    assert isinstance(error, OSError)
    if error.errno not in _UNWRITABLE:
        return False
    # A write to an open file names none. Reading another file may fail too, for its own reasons.
    named = error.filename
    if named is None or not isinstance(named, (str, bytes)):
        return True
    path = Path(named.decode() if isinstance(named, bytes) else named).absolute()
    return path.is_relative_to(folder.absolute()) or folder.absolute().is_relative_to(path)
