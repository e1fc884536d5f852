# SPDX-License-Identifier: Apache-2.0
"""Turns a raw corpus into a dataset folder: in parallel, in bounded memory, and resumable.

The corpus's list of records is cut into parts of a few hundred, each within one split. A worker reads a part's records
and writes them to one Arrow file, which gets its final name when complete, and next to it a small file of counts and
skipped records. All of this is in `OUTPUT.partial`, which is renamed to `OUTPUT` at the end. A run that was killed and
is started again keeps the finished parts, except those whose list of records has changed or whose missing records have
since appeared. So the result depends neither on the number of processes nor on interruptions.
"""

import hashlib
import json
import logging
import multiprocessing
import os
import shutil
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass, fields
from operator import attrgetter
from pathlib import Path
from typing import Any, TypedDict

from tqdm.auto import tqdm

from cgdmer.about import __version__
from cgdmer.corpora.corpus import Corpus, CorpusRow, Note, resampled
from cgdmer.corpora.register import checked_options, get_corpus
from cgdmer.data.storage import SPLITS, SkippedRecord, check_shard, record_to_row
from cgdmer.data.tally import Tally
from cgdmer.data.writing import check_target, complete_folder, open_shard, shard_name
from cgdmer.files.json_types import check
from cgdmer.files.reading import read_json_object
from cgdmer.files.writing import TEMPORARY_SUFFIX, write_json
from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import CGDMERError, CorpusError, ECGInputError
from cgdmer.models.signal_checks import check_usable

# Small enough to keep all workers busy to the end, large enough that 800,000 records make few files.
_ROWS_PER_PART = 500
_WAITING_PARTS_PER_WORKER = 2  # only their rows are held in memory
# A forked worker shares memory and has everything imported already. On other systems forking is not safe.
_START_METHOD = "fork" if sys.platform == "linux" else "spawn"
_FORMAT = 1  # of the partial folder and of its parts: increase it when either changes

logger = logging.getLogger(__name__)
_row_fields = attrgetter(*(field.name for field in fields(CorpusRow)))


@dataclass(frozen=True)
class _Job:
    """What all parts share."""

    corpus: str
    options: dict[str, Any]
    raw_dir: Path
    folder: Path  # OUTPUT.partial


@dataclass(frozen=True)
class _Part:
    """Rows that become one Arrow file."""

    split: str
    number: int
    rows: list[CorpusRow]
    fingerprint: str  # of the rows

    def shard_path(self, folder: Path) -> Path:
        return folder / self.split / shard_name(self.number)

    def report_path(self, folder: Path) -> Path:
        return folder / "parts" / f"{self.split}-{self.number:05d}.json"


class _Report(TypedDict):
    """What is written beside a finished part."""

    fingerprint: str
    bytes: int
    skipped: list[list[str]]
    tally: dict[str, dict[str, int]]


class _Stopped(Exception):
    """The main process asked a worker to abandon its part."""


def corpus_records(name: str, raw_dir: str | os.PathLike[str], **options: Any) -> Iterator[ECGRecord | SkippedRecord]:
    """Read a raw corpus record by record, in the order of its list, without writing anything.

    The arguments are those of `prepare_corpus`.

    Returns:
        An iterator over all entries of the list; one that cannot be used is a `SkippedRecord` with the reason.

    Raises:
        CorpusError: at once: the name or an option is unknown, or the folder or its tables cannot be used.
    """
    corpus, options = checked_options(name, options)
    folder = Path(raw_dir)
    _, rows = corpus.rows(folder, options)
    return (
        row if isinstance(row, SkippedRecord) else _read(corpus, folder, row, options, Counter())
        for row in rows
        if not isinstance(row, Note)
    )


def prepare_corpus(
    name: str,
    raw_dir: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    *,
    num_proc: int = 1,
    **options: Any,
) -> dict[str, int]:
    """Turn a raw corpus into a dataset folder. Records that cannot be read are skipped.

    Besides the splits, the folder has `skipped.csv` (record, kind, reason) and `summary.json` (counts, durations,
    rates, labels, texts, and the corpus's source and license). The module's docstring says how an interrupted run
    continues.

    Args:
        name: "ptb-xl" or another name in `corpora.register.CORPORA`.
        raw_dir: the folder as downloaded.
        output_dir: must not exist or be empty. Unfinished work is kept beside it in `OUTPUT.partial`.
        num_proc: how many processes read and write.
        options: the corpus's options (see its module). All have `sampling_rate` in Hz: for PTB-XL it says which files
            to read, for the others to which rate to resample instead of keeping each record's own.

    Returns:
        `written`, `skipped`, and the number of records in each split under its name.

    Raises:
        CorpusError: the name or an option is unknown, the corpus or its tables cannot be used, `output_dir` or the
            partial folder holds something else, the disk is full, or no record could be used.
        KeyboardInterrupt: after Ctrl-C, with a message that says where the finished parts are.

    Example:
        >>> cgdmer.prepare_corpus("folder", "recordings", "prepared", table="table.csv")["written"]
        12
    """
    corpus, options = checked_options(name, options)
    if num_proc < 1:
        raise CorpusError(f"num_proc is {num_proc}; at least one process is needed.")
    target = Path(output_dir).resolve()
    check_target(target)
    job = _Job(name, options, Path(raw_dir), target.with_name(f"{target.name}.partial"))
    # The workers start before the tables are read, so that they do not inherit them.
    with _workers(num_proc) as pool:
        total, rows = corpus.rows(job.raw_dir, options)
        try:
            _open_partial(job, target)
            return _run(corpus, job, target, rows, total, pool, num_proc)
        except OSError as error:
            raise CorpusError(f"{target} could not be written: {error}. {_kept_note(job)}") from error
        except BrokenProcessPool as error:
            raise CorpusError(
                f"a worker process was killed, perhaps because memory ran out. Use fewer processes. {_kept_note(job)}"
            ) from error
        except KeyboardInterrupt:
            # Ctrl-C may come after a file is opened and before the block that would remove it begins.
            for leftover in job.folder.rglob(f".*.{os.getpid()}.*{TEMPORARY_SUFFIX}"):
                leftover.unlink(missing_ok=True)
            raise KeyboardInterrupt(_kept_note(job)) from None


def _kept_note(job: _Job) -> str:
    return f"Finished parts are kept in {job.folder}: start the same command again to continue."


def _open_partial(job: _Job, target: Path) -> None:
    """Create the partial folder, or check that the existing one belongs to the same job."""
    path = job.folder / "job.json"
    state = {"format": _FORMAT, "version": __version__, "corpus": job.corpus, "options": job.options}
    state = json.loads(json.dumps(state))  # as it will be read back
    job.folder.mkdir(parents=True, exist_ok=True)
    if all(other.suffix == TEMPORARY_SUFFIX for other in job.folder.iterdir()):
        write_json(path, state)
    try:
        found = read_json_object(path)
    except (OSError, ValueError) as error:
        raise CorpusError(
            f"{job.folder} is needed for the unfinished dataset, but it holds something else ({error}). Remove it, or "
            "name another output folder."
        ) from error
    if found != state:
        different = [key for key in state if found.get(key) != state[key]]
        raise CorpusError(
            f"{job.folder} holds the unfinished dataset of another job: "
            + "; ".join(f"its {key} is {found.get(key)!r}, not {state[key]!r}" for key in different)
            + f". Finish that one, remove the folder to start over, or name an output folder other than {target}."
        )
    for name in ("parts", *SPLITS):
        (job.folder / name).mkdir(exist_ok=True)


def _run(
    corpus: Corpus,
    job: _Job,
    target: Path,
    rows: Iterable[CorpusRow | SkippedRecord | Note],
    total: int,
    pool: ProcessPoolExecutor | None,
    num_proc: int,
) -> dict[str, int]:
    """Write the parts that are still missing, then the files that turn all of them into a dataset."""
    skipped_rows: list[SkippedRecord] = []
    notes: list[str] = []
    skipped_of_part: dict[tuple[str, int], list[SkippedRecord]] = {}
    num_shards = dict.fromkeys(SPLITS, 0)
    tallies = {split: Tally() for split in SPLITS}
    with tqdm(total=total, desc=f"preparing {target.name}", unit=" records", smoothing=0.05) as progress:
        for part, report, kept in _reports(job, _parts(rows, skipped_rows, notes), pool, num_proc):
            if kept and not progress.disable:  # took no time: do not count it in the rate and the remaining time
                progress.initial += len(part.rows)
            skipped_of_part[part.split, part.number] = [SkippedRecord(*record) for record in report["skipped"]]
            num_shards[part.split] += 1
            tallies[part.split].update(Tally(report["tally"]))
            progress.update(len(part.rows))
        progress.update(len(skipped_rows))
    for split in SPLITS:
        for number in range(num_shards[split]):
            skipped_rows += skipped_of_part[split, number]
    description, source = _description(corpus, job.options), asdict(corpus.source)
    try:
        counts = complete_folder(job.folder, target, num_shards, tallies, skipped_rows, description, source, notes)
    except CorpusError:  # no record at all: there is nothing to continue from
        shutil.rmtree(job.folder, ignore_errors=True)
        raise
    _put_in_place(job.folder, target, num_shards)
    for note in notes:
        logger.warning("%s", note)
    return counts


def _put_in_place(folder: Path, target: Path, num_shards: dict[str, int]) -> None:
    for path in folder.rglob(f"*{TEMPORARY_SUFFIX}"):  # left by a killed process
        path.unlink()
    for split in SPLITS:
        names = {shard_name(number) for number in range(num_shards[split])}
        for path in folder.joinpath(split).glob("*.arrow"):  # may be left from an earlier, longer list
            if path.name not in names:
                path.unlink()
    check_target(target)
    if target.exists():
        target.rmdir()
    folder.rename(target)
    # Last, so that a kill leaves either a complete dataset or a folder that can be continued.
    shutil.rmtree(target / "parts")
    (target / "job.json").unlink()


def _description(corpus: Corpus, options: dict[str, Any]) -> str:
    source = corpus.source
    rate = f" at {options['sampling_rate']:g} Hz" if corpus.resamples and options["sampling_rate"] else ""
    version = f", version {source.version}" if source.version else ""
    return f"{source.title}{version}{rate}. {corpus.splits} License: {source.license}. {source.url}".rstrip()


def _parts(
    rows: Iterable[CorpusRow | SkippedRecord | Note], skipped: list[SkippedRecord], notes: list[str]
) -> Iterator[_Part]:
    """Cut a list into parts within each split.

    Entries that are skipped or repeated go to `skipped`, notes to `notes`.
    """
    waiting: dict[str, list[CorpusRow]] = {split: [] for split in SPLITS}
    numbers = dict.fromkeys(SPLITS, 0)
    seen: set[str] = set()

    def cut(split: str) -> _Part:
        part_rows, waiting[split] = waiting[split], []
        numbers[split] += 1
        listed = json.dumps([_row_fields(row) for row in part_rows])
        return _Part(split, numbers[split] - 1, part_rows, hashlib.sha256(listed.encode()).hexdigest())

    for row in rows:
        if isinstance(row, Note):
            notes.append(row.text)
        elif isinstance(row, SkippedRecord):
            skipped.append(row)
        elif row.record_id in seen:
            reason = f"{row.path}: a record of this name was already listed; the first one is kept."
            skipped.append(SkippedRecord(row.record_id, reason, "repeated"))
        else:
            seen.add(row.record_id)
            waiting[row.split].append(row)
            if len(waiting[row.split]) == _ROWS_PER_PART:
                yield cut(row.split)
    for split in SPLITS:
        if waiting[split] or not numbers[split]:  # a split without records still needs a file for its columns
            yield cut(split)


def _reports(
    job: _Job, parts: Iterable[_Part], pool: ProcessPoolExecutor | None, num_proc: int
) -> Iterator[tuple[_Part, dict[str, Any], bool]]:
    """(part, its report, whether an earlier run made it), in the order in which parts are finished."""
    running: dict[Future[dict[str, Any]], _Part] = {}

    def finished(at_most: int) -> Iterator[tuple[_Part, dict[str, Any], bool]]:
        while len(running) > at_most:
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield running.pop(future), future.result(), False

    for part in parts:
        report = _report_of_finished_part(job, part)
        if report is not None:
            yield part, report, True
        elif pool is None:
            yield part, _write_part(job, part), False
        else:
            running[pool.submit(_write_part, job, part)] = part
            yield from finished(at_most=_WAITING_PARTS_PER_WORKER * num_proc)
    yield from finished(at_most=0)


def _report_of_finished_part(job: _Job, part: _Part) -> dict[str, Any] | None:
    """The report of a part that an earlier run finished; None if there is none or something has changed since."""
    try:
        report = read_json_object(part.report_path(job.folder))
        check(report, _Report)
        skipped = [SkippedRecord(*record) for record in report["skipped"]]
        if Tally.checked(report["tally"], len(part.rows)).num_records + len(skipped) != len(part.rows):
            raise ValueError("it counts other records than the part has")
        size = part.shard_path(job.folder).stat().st_size
        check_shard(part.shard_path(job.folder))
    except (OSError, ValueError, TypeError, CorpusError):  # damaged: made again
        return None
    if report["fingerprint"] != part.fingerprint or report["bytes"] != size:
        return None
    absent = {record.record_id for record in skipped if record.kind == "absent"}
    has_appeared = any(_exists(job.raw_dir / row.path) for row in part.rows if row.record_id in absent)
    return None if has_appeared else report


def _exists(path: Path) -> bool:
    """Whether there is such a file, or a WFDB record with a header and a signal file."""
    if path.is_file():
        return True
    header, *signals = (path.with_name(path.name + suffix) for suffix in (".hea", ".dat", ".mat"))
    return header.exists() and any(file.exists() for file in signals)


def _write_part(job: _Job, part: _Part) -> dict[str, Any]:
    """Read and write a part's records. The report gets its name last, so a part with a report is complete."""
    corpus = get_corpus(job.corpus)
    tally = Tally()
    skipped: list[SkippedRecord] = []
    with open_shard(part.shard_path(job.folder)) as shard:
        for row in part.rows:
            if _stop is not None and _stop.is_set():
                raise _Stopped
            record = _read(corpus, job.raw_dir, row, job.options, tally.counts["unknown_codes"])
            if isinstance(record, SkippedRecord):
                skipped.append(record)
                continue
            try:
                shard.write(record_to_row(record))
                tally.add(record)
            except CGDMERError as error:
                skipped.append(SkippedRecord(record.record_id, str(error)))
    report = {
        "fingerprint": part.fingerprint,
        "bytes": shard.num_bytes,
        "skipped": [astuple(record) for record in skipped],
        "tally": tally.counts,
    }
    write_json(part.report_path(job.folder), report)
    return report


def _read(
    corpus: Corpus, raw_dir: Path, row: CorpusRow, options: dict[str, Any], unknown_codes: Counter[str]
) -> ECGRecord | SkippedRecord:
    record = corpus.read(raw_dir, row, options, unknown_codes)
    if isinstance(record, SkippedRecord):
        return record
    try:
        check_usable(record)
    except ECGInputError as error:
        return SkippedRecord(row.record_id, f"{raw_dir / row.path}: {error}", "unusable")
    if not corpus.resamples or options["sampling_rate"] is None:
        return record
    return resampled(record, options["sampling_rate"])


# ---- worker processes

_stop: Any = None  # an event that the main process sets to end the work early


@contextmanager
def _workers(num_proc: int) -> Iterator[ProcessPoolExecutor | None]:
    """A pool that abandons its work at once if the block ends in an error or with Ctrl-C; None for one process."""
    if num_proc == 1:
        yield None
        return
    context = multiprocessing.get_context(_START_METHOD)
    stop = context.Event()
    pool = ProcessPoolExecutor(num_proc, mp_context=context, initializer=_start_worker, initargs=(stop,))
    try:
        pool.submit(os.getpid)  # with "fork" the first task starts all workers
        yield pool
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker(stop: Any) -> None:
    global _stop
    _stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes; the main one decides
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this worker if the main process is killed. It would wait for work forever, or keep writing to the folder."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
