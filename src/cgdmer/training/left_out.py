# SPDX-License-Identifier: Apache-2.0
"""Records that cannot be used never end a run: they are left out, named, and counted.

`cgdmer prepare` checks signals, but a dataset may come from elsewhere, and a model's feature extractor may ask for
more. In random access another record, drawn from (seed, epoch, index), takes the place of one that cannot be used. So
all processes make the same number of steps, and their number changes nothing. A stream goes on with its next record.
"""

import csv
import io
import sys
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from accelerate import Accelerator
from accelerate.utils import gather_object
from tqdm.auto import tqdm

from cgdmer.files.writing import write_text
from cgdmer.models.errors import CorpusError, ECGInputError

KEY = "left_out"  # in samples and batches: a list of (record id, reason)
FILE_NAME = "left_out.csv"
_MOST_SUBSTITUTES = 100
_MOST_NAMED = 10  # on the terminal; the file has all

Sample = TypeVar("Sample", bound=MutableMapping[str, Any])


def with_substitutes(
    make: Callable[[int, np.random.Generator], Sample],
    record_id: Callable[[int], str],
    index: int,
    count: int,
    seed: tuple[int, int],
) -> Sample:
    """The sample of a record or, if it cannot be used, of another one, which then lists those that were left out.

    Args:
        make: makes the sample of a record; raises ECGInputError if it cannot be used.
        record_id: names a record.
        index: of the record.
        count: of all records.
        seed: seed and epoch.

    Raises:
        CorpusError: none of a hundred records drawn in its place can be used either.
    """
    left_out: list[tuple[str, str]] = []
    chosen = index
    for attempt in range(1 + _MOST_SUBSTITUTES):
        # Of a usable record, the draws are as if nothing were ever left out.
        random = np.random.default_rng((*seed, index, attempt) if attempt else (*seed, index))
        if attempt:
            chosen = int(random.integers(count))
        try:
            sample = make(chosen, random)
        except ECGInputError as error:
            left_out.append((record_id(chosen), str(error)))
            continue
        if left_out:
            sample[KEY] = left_out
        return sample
    raise CorpusError(
        f"record {left_out[0][0]!r} cannot be used ({left_out[0][1]}), nor can any of {_MOST_SUBSTITUTES} others that "
        "were drawn in its place. Prepare the dataset again: `cgdmer prepare` names such records in skipped.csv."
    )


def say(text: str) -> None:
    """Print a line beside a progress bar, where it does not mix with a command's --json."""
    tqdm.write(text, file=sys.stderr)


class LeftOut:
    """The records that this process left out so far, by id, with the reason."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}

    def take_from(self, batch: MutableMapping[str, Any]) -> None:
        """Remove what a batch says about records left out, and remember it. The first ones are printed."""
        for record_id, reason in batch.pop(KEY, ()):
            if record_id in self.reasons:
                continue
            self.reasons[record_id] = reason
            if len(self.reasons) <= _MOST_NAMED:
                say(f"record {record_id!r} is left out: {reason}")
            elif len(self.reasons) == _MOST_NAMED + 1:
                say(f"further records are left out; {FILE_NAME} will name them")

    def watched(self, batches: Iterator[Any]) -> Iterator[Any]:
        """The batches, after `take_from`."""
        for batch in batches:
            self.take_from(batch)
            yield batch

    def state_dict(self) -> dict[str, str]:
        """For a checkpoint; JSON."""
        return self.reasons

    def load_state_dict(self, state: Any) -> None:
        """Raises a ValueError if it is none."""
        if not isinstance(state, dict) or not all(isinstance(reason, str) for reason in state.values()):
            raise ValueError("the records left out are not named as expected")
        self.reasons = dict(state)

    def write(self, folder: Path) -> None:
        """Write `left_out.csv` (record, reason) if there is something to name; otherwise remove an earlier one."""
        if not self.reasons:
            (folder / FILE_NAME).unlink(missing_ok=True)
            return
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(("record", "reason"))
        table.writerows(sorted(self.reasons.items()))
        write_text(folder / FILE_NAME, text.getvalue())

    @classmethod
    def of_all(cls, accelerator: Accelerator, *mine: "LeftOut") -> "LeftOut":
        """What all processes left out. Every process calls it."""
        whole = cls()
        gathered = gather_object([dict(part.reasons) for part in mine])
        for reasons in gathered:
            whole.reasons.update(reasons)
        return whole


def in_words(number: int) -> str:
    """A sentence for the end of a run; empty if no record was left out."""
    if not number:
        return ""
    verb, pronoun = (" was", "it") if number == 1 else ("s were", "them")
    return f"{number} record{verb} left out, because no model input can be made of {pronoun}: see {FILE_NAME}"
