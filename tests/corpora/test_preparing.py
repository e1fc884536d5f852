# SPDX-License-Identifier: Apache-2.0
"""Preparing a corpus gives the same result with any number of processes and after any interruption."""

import contextlib
import csv
import errno
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from datasets.packaged_modules.parquet.parquet import Parquet
from wfdb_files import assert_same_dataset, write_csn, write_record, write_table

from cgdmer.commands import build_parser, main
from cgdmer.corpora import preparing
from cgdmer.corpora.preparing import prepare_corpus
from cgdmer.corpora.register import CORPORA, get_corpus
from cgdmer.data import writing
from cgdmer.data.storage import load_dataset_folder, row_to_record
from cgdmer.models.errors import CorpusError
from cgdmer.models.feature_extraction_ecg import ECGFeatureExtractor
from cgdmer.models.reading_wfdb import read_wfdb

forking = pytest.mark.skipif(sys.platform != "linux", reason="interrupts a forked process")
NUMBER = 60


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(preparing, "_ROWS_PER_PART", 5)
    monkeypatch.setattr(writing, "_ROWS_PER_BATCH", 2)


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    """Sixty records, of which one is missing and one is damaged."""
    folder = write_csn(tmp_path_factory.mktemp("corpus") / "raw", NUMBER)
    (folder / "WFDBRecords" / "01" / "001" / "JS00013.mat").unlink()
    damaged = folder / "WFDBRecords" / "01" / "004" / "JS00041.mat"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    return folder


@pytest.fixture
def whole(raw, tmp_path) -> Path:
    """The result of an undisturbed run."""
    counts = prepare_corpus("csn", raw, tmp_path / "whole")
    assert (counts["written"], counts["skipped"]) == (NUMBER - 2, 2)
    assert len(list((tmp_path / "whole" / "train").glob("*.arrow"))) > 5
    return tmp_path / "whole"


def finished_parts(output: Path) -> list[Path]:
    return sorted(Path(f"{output}.partial").glob("parts/*.json"))


SLOW_COMMAND = """
import signal, sys, time
from cgdmer.commands import main
from cgdmer.corpora import preparing
from cgdmer.data import writing

# A shell makes background jobs ignore SIGINT, and this process would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
preparing._ROWS_PER_PART, writing._ROWS_PER_BATCH = 5, 2
read = preparing._read

def slow(*arguments):
    time.sleep(0.02)
    return read(*arguments)

preparing._read = slow
sys.exit(main(sys.argv[1:]))
"""


def run_and_signal(arguments: list[str], output: Path, number: signal.Signals, after_parts: int = 3):
    """Run the command slowly and send it a signal after some parts. Returns its exit code and its messages.

    In a new process rather than a fork of this one, which would share tqdm's lock and leave it locked when killed.
    """
    complaints = output.with_suffix(".stderr")
    with open(complaints, "w") as file:
        process = subprocess.Popen([sys.executable, "-c", SLOW_COMMAND, *arguments], stdout=file, stderr=file)
    while len(finished_parts(output)) < after_parts and process.poll() is None:
        time.sleep(0.005)
    assert process.poll() is None, f"it ended before it could be interrupted: {complaints.read_text()}"
    process.send_signal(number)
    return process.wait(), complaints.read_text()


def descendants(folder: Path) -> list[int]:
    """Other processes that have a file in the folder open."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            files = [os.readlink(link) for link in (process / "fd").iterdir()]
            if int(process.name) != os.getpid() and any(name.startswith(str(folder)) for name in files):
                found.append(int(process.name))
    return found


def test_two_processes_give_the_same(raw, whole, tmp_path):
    prepare_corpus("csn", raw, tmp_path / "two", num_proc=2)
    assert_same_dataset(tmp_path / "two", whole)
    assert not list(tmp_path.glob("*.partial"))


def test_spawned_processes_give_the_same(raw, whole, tmp_path, monkeypatch):
    """As on systems on which forking is not safe."""
    monkeypatch.setattr(preparing, "_START_METHOD", "spawn")
    monkeypatch.setattr(writing, "_ROWS_PER_BATCH", 100)  # what the workers will have
    prepare_corpus("csn", raw, tmp_path / "one")
    prepare_corpus("csn", raw, tmp_path / "two", num_proc=2)
    assert_same_dataset(tmp_path / "two", tmp_path / "one")


@forking
@pytest.mark.parametrize("num_proc", [1, 2])
def test_killed_and_started_again(raw, whole, tmp_path, monkeypatch, num_proc):
    output = tmp_path / "out"
    arguments = ["prepare", "csn", str(raw), str(output), "--num_proc", str(num_proc)]
    code, _ = run_and_signal(arguments, output, signal.SIGKILL)
    assert code == -signal.SIGKILL and not output.exists()
    while descendants(Path(f"{output}.partial")):  # workers end once they see that the run has
        time.sleep(0.02)
    kept = {path: path.stat().st_mtime_ns for path in finished_parts(output)}
    assert 3 <= len(kept) < NUMBER // 5
    written = []
    write = preparing._write_part
    monkeypatch.setattr(preparing, "_write_part", lambda job, part: written.append(part) or write(job, part))
    prepare_corpus("csn", raw, output)
    total = len(list(output.glob("*/data-*.arrow")))
    assert len(written) == total - len(kept), "finished parts must not be made again"
    assert_same_dataset(output, whole)


@forking
@pytest.mark.parametrize("num_proc", [1, 2])
def test_ctrl_c_keeps_what_is_finished(raw, whole, tmp_path, num_proc):
    output = tmp_path / "out"
    arguments = ["prepare", "csn", str(raw), str(output), "--num_proc", str(num_proc)]
    code, complaint = run_and_signal(arguments, output, signal.SIGINT)
    assert code == 130
    assert complaint.splitlines()[-1].startswith("cgdmer prepare: stopped. ")
    assert "start the same command again" in complaint and f"{output}.partial" in complaint
    assert "Traceback" not in complaint
    assert not output.exists() and not list(Path(f"{output}.partial").rglob("*.part"))
    assert main(arguments) == 0
    assert_same_dataset(output, whole)


@pytest.mark.parametrize("num_proc", [1, pytest.param(2, marks=forking)])
def test_full_disk_keeps_what_is_finished(raw, whole, tmp_path, monkeypatch, num_proc, capsys):
    flush = writing.ShardWriter._flush
    times = 0

    def failing(shard):
        nonlocal times
        times += 1
        if times == 12:
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(shard)

    output = tmp_path / "out"
    arguments = ["prepare", "csn", str(raw), str(output), "--num_proc", str(num_proc)]
    with monkeypatch.context() as full:
        full.setattr(writing.ShardWriter, "_flush", failing)
        assert main(arguments) == 1
    complaint = capsys.readouterr().err.splitlines()[-1]
    assert "No space left" in complaint and "start the same command again" in complaint
    assert finished_parts(output) and not list(Path(f"{output}.partial").rglob("*.part"))
    assert main(arguments) == 0
    assert_same_dataset(output, whole)


@forking
def test_killed_worker_is_reported(raw, whole, tmp_path, monkeypatch):
    """As the kernel kills one when memory runs out."""
    main_process = os.getpid()
    read = preparing._read

    def deadly(corpus, raw_dir, row, *others):
        if os.getpid() != main_process and row.record_id == "JS00050":
            os.kill(os.getpid(), signal.SIGKILL)
        return read(corpus, raw_dir, row, *others)

    monkeypatch.setattr(preparing, "_read", deadly)
    with pytest.raises(CorpusError, match=r"worker process was killed.*out\.partial"):
        prepare_corpus("csn", raw, tmp_path / "out", num_proc=2)
    prepare_corpus("csn", raw, tmp_path / "out")
    assert_same_dataset(tmp_path / "out", whole)


def stop_after(monkeypatch, number: int) -> None:
    """Ctrl-C after `number` records were read."""
    read, seen = preparing._read, []

    def stopping(*arguments):
        seen.append(arguments)
        if len(seen) > number:
            raise KeyboardInterrupt
        return read(*arguments)

    monkeypatch.setattr(preparing, "_read", stopping)


@pytest.fixture
def unfinished(raw, tmp_path, monkeypatch) -> Path:
    """An output whose run was stopped halfway."""
    with monkeypatch.context() as stopped:
        stop_after(stopped, NUMBER // 2)
        with pytest.raises(KeyboardInterrupt, match="start the same command again"):
            prepare_corpus("csn", raw, tmp_path / "out")
    assert finished_parts(tmp_path / "out")
    return tmp_path / "out"


def test_other_jobs_do_not_mix(raw, unfinished, tmp_path):
    with pytest.raises(CorpusError, match=r"out\.partial holds the unfinished.*its options is.*None.*250"):
        prepare_corpus("csn", raw, unfinished, sampling_rate=250)
    write_record(tmp_path / "other" / "A0001")
    with pytest.raises(CorpusError, match="its corpus is 'csn', not 'cpsc2018'"):
        prepare_corpus("cpsc2018", tmp_path / "other", unfinished)
    job = Path(f"{unfinished}.partial") / "job.json"
    job.write_text(job.read_text().replace('"version": "', '"version": "0.0.'))
    with pytest.raises(CorpusError, match="its version is"):
        prepare_corpus("csn", raw, unfinished)
    for content in ("", "[]", "{"):
        job.write_text(content)
        with pytest.raises(CorpusError, match="holds something else"):
            prepare_corpus("csn", raw, unfinished)
    assert finished_parts(unfinished), "nothing in it may be touched"


def test_damaged_parts_are_made_again(raw, unfinished, whole):
    first, second, third = finished_parts(unfinished)[:3]
    first.write_text("{")
    shard = Path(f"{unfinished}.partial") / "train" / f"data-{second.stem.split('-')[1]}.arrow"
    shard.write_bytes(shard.read_bytes()[:-8])
    third.write_text(third.read_text().replace('"fingerprint": "', '"fingerprint": "x'))
    prepare_corpus("csn", raw, unfinished)
    assert_same_dataset(unfinished, whole)


def test_list_that_changed_between_runs(tmp_path, monkeypatch):
    """The table loses rows between two runs: nothing of the old list remains."""
    for number in range(30):
        write_record(tmp_path / "raw" / f"r{number}", number)
    rows = [{"record": f"r{number}", "split": "train"} for number in range(30)]
    table = write_table(tmp_path / "table.csv", rows)
    with monkeypatch.context() as stopped:
        stop_after(stopped, 27)
        with pytest.raises(KeyboardInterrupt):
            prepare_corpus("folder", tmp_path / "raw", tmp_path / "out", table=str(table))
    write_table(table, rows[:7] + rows[8:12])
    prepare_corpus("folder", tmp_path / "raw", tmp_path / "out", table=str(table))
    prepare_corpus("folder", tmp_path / "raw", tmp_path / "fresh", table=str(table))
    assert_same_dataset(tmp_path / "out", tmp_path / "fresh")


def test_output_that_holds_something(raw, whole, tmp_path):
    with pytest.raises(CorpusError, match=r"not empty \(it holds: A large scale 12-lead.*Name another folder"):
        prepare_corpus("csn", raw, whole)
    (tmp_path / "letters.partial").mkdir()
    (tmp_path / "letters.partial" / "dear.txt").write_text("keep me")
    with pytest.raises(CorpusError, match=r"letters\.partial.*holds something else"):
        prepare_corpus("csn", raw, tmp_path / "letters")
    assert (tmp_path / "letters.partial" / "dear.txt").read_text() == "keep me"
    (tmp_path / "empty").mkdir()
    assert prepare_corpus("csn", raw, tmp_path / "empty")["written"] == NUMBER - 2


def test_without_a_readable_record_nothing_remains(tmp_path):
    raw = write_csn(tmp_path / "raw", 3, rate=1)
    with pytest.raises(CorpusError, match=r"no record could be written.*3 reasons.*sampling rate"):
        prepare_corpus("csn", raw, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_records_that_no_feature_extractor_takes_are_skipped(tmp_path):
    """They would end a training run, or be missing from it. Each is named with the reason."""
    noise = np.random.default_rng(0).integers(-900, 900, (2000, 12)).astype("<i2")
    constant, missing = np.full_like(noise, 7), np.full_like(noise, -32768)
    gap, sparse, padded, one_lead = noise.copy(), noise.copy(), noise.copy(), constant.copy()
    gap[500:1700] = -32768
    for lead in range(12):  # three quarters of the samples are missing, nowhere for long
        sparse[np.arange(2000) % 4 != lead % 4, lead] = -32768
    padded[700:] = 0
    one_lead[:, 0] = noise[:, 0]
    cases = {
        "every lead is flat or missing": {"counts": constant},
        "every lead is flat or missing, so": {"counts": missing},
        "every lead is flat or has long gaps": {"counts": gap},
        "or has long gaps, so nothing": {"counts": sparse},
        "only 1.40 s of the recording are not missing": {"counts": padded},
        "lasts 1.50 s (750 samples": {"counts": noise[:750]},
        "swing by less than": {"counts": noise, "gain": 1000000},
        "swing by more than": {"counts": noise, "gain": 10},
        "'MLII' is not one of the twelve": {"counts": noise[:, :1], "leads": ("MLII",)},
    }
    for number, case in enumerate(cases.values(), 1):
        write_record(tmp_path / "raw" / f"JS{number:05d}", **case)
    write_record(tmp_path / "raw" / "JS00020", counts=one_lead)
    write_record(tmp_path / "raw" / "JS00021", counts=noise)
    assert prepare_corpus("csn", tmp_path / "raw", tmp_path / "out")["written"] == 2
    lines = csv.DictReader((tmp_path / "out" / "skipped.csv").read_text().splitlines())
    reasons = [line["reason"] for line in sorted(lines, key=lambda line: line["record"])]
    for number, (words, reason) in enumerate(zip(cases, reasons, strict=True), 1):
        assert words in reason and f"JS{number:05d}" in reason
    assert "gain in its file" in reasons[6] and "gain in its file" in reasons[7]
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["skipped_by_kind"] == {"unusable": len(cases)}
    extractor = ECGFeatureExtractor()
    for split in load_dataset_folder(tmp_path / "out").values():
        for row in split:
            extractor(row_to_record(row))


def test_names_and_options_that_do_not_exist(raw, tmp_path):
    with pytest.raises(CorpusError, match=r"no corpus 'chapman'.*mimic-iv-ecg.*csn"):
        prepare_corpus("chapman", raw, tmp_path / "out")
    with pytest.raises(CorpusError, match="csn has no option min_words; it takes sampling_rate"):
        prepare_corpus("csn", raw, tmp_path / "out", min_words=3)
    with pytest.raises(CorpusError, match="num_proc is 0"):
        prepare_corpus("csn", raw, tmp_path / "out", num_proc=0)


def test_the_command_offers_every_corpus(capsys):
    with pytest.raises(SystemExit):
        build_parser().parse_args(["prepare", "--help"])
    offered = capsys.readouterr().out
    assert f"{{{','.join(CORPORA)}}}" in offered
    for option in {option for corpus in map(get_corpus, CORPORA) for option in corpus.options}:
        assert f"--{option}" in offered


def test_every_source_states_its_license():
    for name, corpus in zip(CORPORA, map(get_corpus, CORPORA), strict=True):
        source = corpus.source
        assert name in (source.name, "wfdb-folder") and source.title and source.license
        assert source.name == "folder" or (source.version and source.citation and source.url.startswith("https://"))


def test_summary_counts(whole):
    summary = json.loads((whole / "summary.json").read_text())
    assert (summary["written"], summary["skipped"]) == (NUMBER - 2, 2)
    assert summary["skipped_by_kind"] == {"absent": 1, "unreadable": 1}
    assert summary["seconds"] == {"shortest": 2.0, "median": 2.0, "longest": 2.0}
    assert summary["sampling_rates"] == {"500": NUMBER - 2} and summary["gains"] == {"1000": NUMBER - 2}
    assert summary["unit"] == "mV" and summary["with_labels"] == NUMBER - 2 and summary["with_text"] == 0
    assert summary["labels"]["59118001"] == summary["splits"] == summary["labels"]["426783006"]
    assert not (whole / "job.json").exists() and not (whole / "parts").exists()


def test_parquet_streams_back_every_sample(raw, whole, tmp_path):
    """As the Hub stores and serves a dataset."""
    loaded = load_dataset_folder(whole)
    for split, dataset in loaded.items():
        dataset.to_parquet(tmp_path / f"{split}.parquet")
    files = {split: str(tmp_path / f"{split}.parquet") for split in loaded}
    streamed = Parquet(data_files=files, cache_dir=str(tmp_path / "cache")).as_streaming_dataset()
    number = 0
    for split in loaded:
        for row, local in zip(streamed[split], loaded[split], strict=True):
            assert row == local
            record = row_to_record(row)
            (path,) = raw.rglob(f"{record.record_id}.hea")
            np.testing.assert_array_equal(record.signal, read_wfdb(path).signal)
            number += 1
    assert number == NUMBER - 2


def test_memory_holds_few_parts(tmp_path, monkeypatch):
    """The list of records is consumed only as fast as they are read."""
    taken = done = most = 0
    rows = get_corpus("csn").rows
    raw = write_csn(tmp_path / "raw", 50)

    def counted(raw_dir, options):
        total, entries = rows(raw_dir, options)

        def watched():
            nonlocal taken, most
            for entry in entries:
                taken += 1
                most = max(most, taken - done)
                yield entry

        return total, watched()

    read = preparing._read

    def reading(*arguments):
        nonlocal done
        done += 1
        return read(*arguments)

    monkeypatch.setattr(preparing, "_read", reading)
    corpus = get_corpus("csn")
    monkeypatch.setattr("cgdmer.corpora.register.get_corpus", lambda _: replace(corpus, rows=counted))
    prepare_corpus("csn", raw, tmp_path / "out")
    assert taken == done == 50 and most <= 3 * 5
