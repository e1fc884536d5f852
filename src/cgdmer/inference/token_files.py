# SPDX-License-Identifier: Apache-2.0
"""The tokens of many records in a file, in half precision: in memory, they would take gigabytes.

A file holds the tokens of all windows one after another, a table of the windows, and the number of windows.

Shapes: W windows of all records, B windows of a batch, K tokens of a window (of the longest in a batch), D width.
"""

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from cgdmer.models.errors import CorpusError, ModelFolderError

_WINDOW = np.dtype([("record", "<i8"), ("tokens", "<i8"), ("weight", "<f4")])
_VALUE, _COUNT = np.dtype("<f2"), np.dtype("<i8")


class TemporaryFolder:
    """A folder that is deleted with this object, or when the program ends."""

    def __init__(self) -> None:
        # Not `tempfile.TemporaryDirectory`, which warns when nobody closes it.
        self.path = Path(tempfile.mkdtemp(prefix="tokens-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


@dataclass(frozen=True)
class RecordTokens:
    """The tokens of n records. Indexing with a mask or with numbers chooses records, in that order.

    Attributes:
        path: the file.
        width: D.
        windows: (W,) in the order of the file: the number of the window's `record`, how many `tokens` it has, and the
            `weight` of the window, which is the part of the record that it adds.
        spans: (n, 2) for each record its first window, and the one after its last.
        kept_by: the folder of a temporary file, which must stay as long as the tokens do.
    """

    path: Path
    width: int
    windows: np.ndarray = field(repr=False)
    spans: np.ndarray = field(repr=False)
    kept_by: TemporaryFolder | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.spans)

    def __getitem__(self, rows: np.ndarray) -> "RecordTokens":
        return replace(self, spans=self.spans[rows])

    def batch(self, windows: Sequence[int] | np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """The tokens of some windows: (B, K, D) float32, and (B, K) bool, False where a window has fewer."""
        pieces = [
            torch.from_numpy(self._values[self._ends[window] : self._ends[window + 1]].astype(np.float32))
            for window in windows
        ]
        counts_B = torch.tensor([len(piece) for piece in pieces])
        tokens_BKD = pad_sequence(pieces, batch_first=True)
        return tokens_BKD, torch.arange(tokens_BKD.shape[1]) < counts_B[:, None]

    @cached_property
    def _ends(self) -> np.ndarray:
        """(W + 1,) the first token of each window, and the number of all."""
        return np.concatenate([[0], np.cumsum(self.windows["tokens"])])

    @cached_property
    def _values(self) -> np.ndarray:
        return np.memmap(self.path, _VALUE, "r", shape=(int(self._ends[-1]), self.width))


class TokenWriter:
    """Writes a file of tokens, a batch of windows at a time.

    Raises:
        CorpusError: the file cannot be written.
    """

    def __init__(self, path: Path):
        self.path = path
        self._counts = [np.zeros(0, np.int64)]
        with self._writing():
            self._file = open(path, "wb", opener=_for_oneself)  # noqa: SIM115 - closed by __exit__

    def __enter__(self) -> "TokenWriter":
        return self

    def __exit__(self, *_: object) -> None:
        with self._writing():
            self._file.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CorpusError(
                f"the encoder's tokens cannot be kept in {self.path.parent}: {error}. Free space, name another folder "
                "(cache_dir, or TMPDIR in the environment), or do without readouts that need tokens."
            ) from error

    def add(self, tokens_BKD: torch.Tensor, mask_BK: torch.Tensor) -> None:
        """Append the tokens of some windows.

        Raises:
            ModelFolderError: a token is not a number, or too large for half precision.
        """
        values = tokens_BKD[mask_BK].half()
        if not values.isfinite().all():
            raise ModelFolderError("the encoder has tokens that are not finite in half precision: is it damaged?")
        with self._writing():
            self._file.write(values.cpu().numpy().astype(_VALUE).tobytes())
        self._counts.append(mask_BK.sum(dim=1).cpu().numpy())

    def finish(self, records: np.ndarray, weights: np.ndarray) -> None:
        """Append the table of the windows: (W,) the number of each window's record, and (W,) its weight."""
        windows = np.zeros(len(records), _WINDOW)
        windows["record"], windows["tokens"], windows["weight"] = records, np.concatenate(self._counts), weights
        with self._writing():
            self._file.write(windows.tobytes() + np.array(len(windows), _COUNT).tobytes())


def _for_oneself(path: str, flags: int) -> int:
    """Opens a file that other users cannot read, like the other files of a cache: it is from people's ECGs."""
    return os.open(path, flags, 0o600)


def read_tokens(
    path: Path, num_records: int, width: int, kept_by: TemporaryFolder | None = None
) -> RecordTokens | None:
    """The tokens in a file; None if it is absent, cut off, or of other records or another encoder.

    Args:
        num_records: of the file. Those that could not be used have no windows.
        width: of the encoder.
    """
    try:
        size = os.path.getsize(path)
        with open(path, "rb") as file:
            if size < _COUNT.itemsize:
                return None
            file.seek(size - _COUNT.itemsize)
            count = int(np.frombuffer(file.read(), _COUNT)[0])
            start = size - _COUNT.itemsize - count * _WINDOW.itemsize
            if count < 0 or start < 0:
                return None
            file.seek(start)
            windows = np.frombuffer(file.read(count * _WINDOW.itemsize), _WINDOW)
    except FileNotFoundError:
        return None
    records, tokens = windows["record"], windows["tokens"]
    in_order = bool((np.diff(records) >= 0).all()) and (not count or (records[0] >= 0 and records[-1] < num_records))
    # The tokens are at most as many as the file can hold: their sum cannot overflow.
    fits = bool(((tokens > 0) & (tokens <= start)).all()) and int(tokens.sum()) * width * _VALUE.itemsize == start
    if not (in_order and fits):
        return None
    numbers = np.arange(num_records)
    spans = np.stack([np.searchsorted(records, numbers), np.searchsorted(records, numbers, "right")], axis=1)
    return RecordTokens(path, width, windows, spans, kept_by)
