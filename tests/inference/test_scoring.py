# SPDX-License-Identifier: Apache-2.0
"""Scores of many recordings: the same as the pipeline's, one row per recording, however often the run was killed."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from torch.nn import functional as F

from cgdmer import read_wfdb
from cgdmer.commands import main
from cgdmer.data.storage import load_dataset_folder, row_to_record
from cgdmer.inference import growing_table, scoring
from cgdmer.inference.growing_table import GrowingTable
from cgdmer.inference.scoring import read_labels, score_recordings
from cgdmer.measurement.remarks import remarks_on
from cgdmer.models.errors import CGDMERError, ConfigurationError, CorpusError, ECGInputError
from cgdmer.models.leads import STANDARD_LEADS
from cgdmer.presets import SHIPPED_MODEL
from cgdmer.simulation.cohort import simulate_record
from clinic_writers import WRITERS
from recordings import with_frank_leads, write_wfdb

LABELS = ["atrial fibrillation", "left bundle branch block", "normal ECG"]
UNREADABLE = ["a/flat", "a/truncated", "no_signals"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
USE_COLUMNS = ["leads_used", "leads_derived", "leads_not_used", "seconds_used", "seconds_filled", "seconds_cut"]
USE_COLUMNS += ["doubts", "familiarity"]
READABLE = ["a/fast", "a/one", "b/c/long", "b/three_leads", "short"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Recordings of several lengths, rates, and leads in several subfolders; three cannot be read."""
    root = tmp_path_factory.mktemp("recordings")

    def simulated(seed, **options):
        return simulate_record(["sinus_rhythm"], seed=seed, **{"sampling_rate": 100, **options})

    one = simulated(1)
    write_wfdb(one, root / "a" / "one")
    write_wfdb(simulated(2, sampling_rate=500), root / "a" / "fast")
    write_wfdb(simulated(3, duration=34.0), root / "b" / "c" / "long")
    few = simulated(4)
    write_wfdb(replace(few, signal=few.signal[[0, 1, 6]], lead_names=("I", "II", "V1")), root / "b" / "three_leads")
    write_wfdb(simulated(5, duration=5.0), root / "short")
    write_wfdb(replace(one, signal=np.zeros_like(one.signal)), root / "a" / "flat")
    write_wfdb(one, root / "a" / "truncated")
    signals = root / "a" / "truncated.dat"
    signals.write_bytes(signals.read_bytes()[:-10])
    write_wfdb(one, root / "no_signals")
    (root / "no_signals.dat").unlink()
    (root / "notes.txt").write_text("no record")
    return root


def rows_of(path: Path) -> dict[str, dict]:
    return {row["record_id"]: row for row in pyarrow.parquet.read_table(path).to_pylist()}


@pytest.mark.parametrize(("batch_size", "num_proc"), [(64, 2), (3, 0)])
def test_scores_are_those_of_the_pipeline(folder, classify, tmp_path, batch_size, num_proc):
    answer = score_recordings(
        folder, tmp_path / "out.parquet", LABELS, embeddings=True, batch_size=batch_size, num_proc=num_proc
    )
    assert (answer["records"], answer["unreadable"]) == (8, 3)
    table = pyarrow.parquet.read_table(tmp_path / "out.parquet")
    assert table.column_names == ["record_id", *LABELS, "embedding", *USE_COLUMNS, "error"]
    assert table["record_id"].to_pylist() == sorted([*READABLE, *UNREADABLE])
    assert {str(table.schema.field(label).type) for label in LABELS} == {"float"}
    rows = rows_of(tmp_path / "out.parquet")
    distances, log_odds = [], []
    for record_id in READABLE:
        row = rows[record_id]
        expected = {one["label"]: one["score"] for one in classify(str(folder / record_id), candidate_labels=LABELS)}
        distances += [abs(row[label] - expected[label]) / expected[label] for label in LABELS]
        log_odds.append(np.log(row[LABELS[0]] / (1 - row[LABELS[0]])))
        assert row["error"] is None
    assert max(distances) <= 1e-5
    for record_id in UNREADABLE:
        row = rows[record_id]
        with pytest.raises(CGDMERError) as refused:
            classify(str(folder / record_id), candidate_labels=LABELS)
        assert row["error"] == str(refused.value)
        assert all(row[name] is None for name in [*LABELS, "embedding", *USE_COLUMNS])
    # Otherwise the comparison would prove little.
    assert np.ptp(log_odds) > 0.5


def test_columns_say_what_was_used(tmp_path):
    """A flat lead, gaps, and a filled end; also over several batches and processes."""
    whole = simulate_record(["sinus_rhythm"], seed=1, sampling_rate=100, duration=34.0)
    faulty = whole.signal.copy()
    faulty[6] = 0.0
    faulty[7, 1000:1240] = np.nan
    faulty[8:10, 500:550] = np.nan
    faulty = np.concatenate([faulty, np.full((12, 200), np.nan)], axis=1)
    for number in range(5):
        write_wfdb(whole, tmp_path / "records" / f"whole{number}")
    write_wfdb(replace(whole, signal=faulty), tmp_path / "records" / "faulty")
    write_wfdb(replace(whole, signal=whole.signal[[0, 1]], lead_names=("I", "II")), tmp_path / "records" / "two")
    for num_proc in (0, 2):
        output = tmp_path / f"{num_proc}.parquet"
        answer = score_recordings(tmp_path / "records", output, LABELS[:1], batch_size=2, num_proc=num_proc)
        assert answer["with_unused_leads"] == 1
        rows = {name: [row[column] for column in USE_COLUMNS[:-1]] for name, row in rows_of(output).items()}
        assert rows.pop("faulty") == [
            ", ".join(lead for lead in STANDARD_LEADS if lead not in ("V1", "V2")),
            "",
            "V1 (flat); V2 (gap of 2.4 s)",
            34.0,
            1.0,
            2.0,
            "",
        ]
        chest = ", ".join(STANDARD_LEADS[6:])
        derived = "III, aVR, aVL, aVF (not given)"
        assert rows.pop("two") == ["I, II", derived, f"{chest} (not given)", 34.0, 0.0, 0.0, ""]
        assert len(rows) == 5
        assert all(row == [", ".join(STANDARD_LEADS), "", "", 34.0, 0.0, 0.0, ""] for row in rows.values())


def test_embeddings_are_unit_vectors_averaged_over_windows(folder, classify, tmp_path):
    score_recordings(folder, tmp_path / "out.parquet", LABELS, embeddings=True, num_proc=0)
    rows = rows_of(tmp_path / "out.parquet")
    for record_id in READABLE:
        inputs = dict(classify.processor(ecg=read_wfdb(folder / record_id), windows=True, return_tensors="pt"))
        assert len(inputs.pop("record_index")) == (4 if record_id == "b/c/long" else 1)  # 34 s
        weights = torch.tensor([10.0, 10.0, 10.0, 4.0] if record_id == "b/c/long" else [1.0])
        torch.testing.assert_close(inputs.pop("window_weights"), weights / weights.sum())
        with torch.no_grad():
            windows = classify.model.get_ecg_features(**inputs).pooler_output
        expected = F.normalize(weights @ windows, dim=-1)
        np.testing.assert_allclose(rows[record_id]["embedding"], expected, atol=1e-6)


def test_a_prepared_dataset_by_split_and_as_a_whole(dataset_folder, classify, tmp_path):
    splits = load_dataset_folder(dataset_folder)
    score_recordings(dataset_folder, tmp_path / "test.parquet", LABELS, splits=["test"], num_proc=0)
    rows = rows_of(tmp_path / "test.parquet")
    records = [row_to_record(row) for row in splits["test"]]
    assert list(rows) == [record.record_id for record in records] and rows
    for record in records:
        expected = {one["label"]: one["score"] for one in classify(record, candidate_labels=LABELS)}
        assert {label: rows[record.record_id][label] for label in LABELS} == pytest.approx(expected, abs=1e-6)
    answer = score_recordings(dataset_folder, tmp_path / "all.parquet", LABELS, num_proc=0)
    assert answer["records"] == sum(map(len, splits.values())) == 30
    with pytest.raises(CorpusError, match=r"no split 'holdout'\. It has train, validation, test"):
        score_recordings(dataset_folder, tmp_path / "x.parquet", LABELS, splits=["holdout"])


def test_a_folder_without_readable_recordings_has_rows_too(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "in")
    for signals in (tmp_path / "in").rglob("*.dat"):
        signals.unlink()
    answer = score_recordings(tmp_path / "in", tmp_path / "out.parquet", LABELS, embeddings=True, num_proc=0)
    assert answer["records"] == answer["unreadable"] == 8
    assert all("does not exist" in row["error"] for row in rows_of(tmp_path / "out.parquet").values())


class Killed(BaseException):
    """Passes through every handler, like a kill."""


def run_killed_at(monkeypatch, name: str, count: int, *arguments, **options) -> None:
    """A run that is killed at the count-th call of a method of `GrowingTable`."""
    calls = iter(range(1, 1000))
    original = getattr(growing_table.GrowingTable, name)

    def planted(self, *given):
        if next(calls) == count:
            raise Killed
        return original(self, *given)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(growing_table.GrowingTable, name, planted)
        score_recordings(*arguments, **options)


def test_a_killed_run_continues_to_the_same_file(dataset_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(growing_table, "ROWS_PER_PART", 8)
    arguments = {"embeddings": True, "batch_size": 4, "num_proc": 0}
    whole, output = tmp_path / "whole.parquet", tmp_path / "out.parquet"
    score_recordings(dataset_folder, whole, LABELS, **arguments)
    run_killed_at(monkeypatch, "append", 4, dataset_folder, output, LABELS, **arguments)
    partial = tmp_path / "out.parquet.partial"
    assert [path.name for path in sorted(partial.glob("*.parquet"))] == ["000000000000.parquet"]
    run_killed_at(monkeypatch, "flush", 2, dataset_folder, output, LABELS, **arguments)
    before = (partial / "000000000000.parquet").stat().st_mtime_ns
    (partial / ".000000000008.parquet.77.0.part").write_bytes(b"PAR1 half of a part")
    run_killed_at(monkeypatch, "finish", 1, dataset_folder, output, LABELS, **arguments)
    assert (partial / "000000000000.parquet").stat().st_mtime_ns == before  # it was not computed again
    assert not output.exists()
    answer = score_recordings(dataset_folder, output, LABELS, **arguments)
    assert answer["records"] == 30
    assert output.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.parquet", "whole.parquet"]


def test_only_what_is_missing_is_computed_again(dataset_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(growing_table, "ROWS_PER_PART", 8)
    output = tmp_path / "out.parquet"
    run_killed_at(monkeypatch, "append", 6, dataset_folder, output, LABELS, batch_size=4, num_proc=0)
    original, firsts = scoring.average_windows, []
    monkeypatch.setattr(scoring, "average_windows", lambda *a, **k: firsts.append(k["first"]) or original(*a, **k))
    damaged = tmp_path / "out.parquet.partial" / "000000000008.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-9])  # as a power failure may leave it
    score_recordings(dataset_folder, output, LABELS, batch_size=4, num_proc=0)
    assert firsts == [8]


KILLED_RUN = """
import os, signal, sys
from cgdmer.inference import growing_table
from cgdmer.inference.scoring import score_recordings

growing_table.ROWS_PER_PART = 4
flush = growing_table.GrowingTable.flush

def flush_and_die(table):
    flush(table)
    if table.num_rows >= 8:
        os.kill(os.getpid(), signal.SIGKILL)

growing_table.GrowingTable.flush = flush_and_die
score_recordings(sys.argv[1], sys.argv[2], sys.argv[3:], batch_size=4, num_proc=1)
"""


def test_sigkill_leaves_the_finished_rows_and_no_process(dataset_folder, tmp_path):
    whole, output = tmp_path / "whole.parquet", tmp_path / "out.parquet"
    command = [sys.executable, "-c", KILLED_RUN, str(dataset_folder), str(output), *LABELS]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as killed:
        # Returns only after the reading process has ended too, because it holds the other end of the pipes.
        _, errors = killed.communicate()
    assert killed.returncode == -signal.SIGKILL, errors.decode()[-2000:]
    assert not output.exists() and len(list((tmp_path / "out.parquet.partial").glob("*.parquet"))) == 2
    score_recordings(dataset_folder, output, LABELS, batch_size=4, num_proc=0)
    score_recordings(dataset_folder, whole, LABELS, batch_size=4, num_proc=0)
    assert output.read_bytes() == whole.read_bytes()


def test_ctrl_c_keeps_all_rows_and_says_where(dataset_folder, tmp_path, monkeypatch, capsys):
    original, batches = scoring._rows, iter(range(100))

    def interrupted(*given):
        if next(batches) == 3:
            raise KeyboardInterrupt
        return original(*given)

    monkeypatch.setattr(scoring, "_rows", interrupted)
    command = ["score", str(dataset_folder), str(tmp_path / "out.parquet"), "--labels", *LABELS]
    assert main([*command, "--batch_size", "4", "--num_proc", "0"]) == 130
    assert "out.parquet.partial: start the same command again" in capsys.readouterr().err
    kept = pyarrow.parquet.read_table(tmp_path / "out.parquet.partial" / "000000000000.parquet")
    assert len(kept) == 12


def test_another_job_is_refused(folder, dataset_folder, tmp_path, monkeypatch):
    output = tmp_path / "out.parquet"
    run_killed_at(monkeypatch, "finish", 1, folder, output, LABELS, num_proc=0)
    with pytest.raises(CorpusError, match=r"differs in: labels\."):
        score_recordings(folder, output, [*LABELS, "sinus rhythm"], num_proc=0)
    with pytest.raises(CorpusError, match=r"differs in: labels\."):
        score_recordings(folder, output, LABELS[::-1], num_proc=0)
    with pytest.raises(CorpusError, match=r"differs in: records\."):
        score_recordings(dataset_folder, output, LABELS, num_proc=0)
    with pytest.raises(CorpusError, match=r"differs in: embeddings\."):
        score_recordings(folder, output, LABELS, embeddings=True, num_proc=0)
    shutil.copytree(SHIPPED_MODEL, tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps({**config, "score_bias": 0.0}))
    with pytest.raises(CorpusError, match=r"differs in: model\."):  # another calibration
        score_recordings(folder, output, LABELS, tmp_path / "model", num_proc=0)
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    score_recordings(folder, output, LABELS, tmp_path / "model", num_proc=0)  # the same model under another name
    with pytest.raises(CorpusError, match="exists already"):
        score_recordings(folder, output, LABELS, num_proc=0)


@pytest.mark.parametrize(
    ("labels", "options", "error", "message"),
    [
        (["error"], {}, ECGInputError, "name of another column"),
        (["leads_not_used"], {}, ECGInputError, "name of another column"),
        (["a", "a"], {}, ECGInputError, "more than once"),
        ([], {}, ECGInputError, "at least one"),
        (["a"], {"splits": ["test"]}, CorpusError, "no prepared dataset"),
        (["a"], {"leads": ["I", "VX"]}, ECGInputError, "'VX' is not one of the twelve"),
        (["a"], {"leads": ["I", "i"]}, ECGInputError, "more than once"),
        (["a"], {"batch_size": 0}, ConfigurationError, "batch_size is 0"),
        (["a"], {"num_proc": -1}, ConfigurationError, "num_proc -1"),
    ],
)
def test_invalid_arguments_are_refused_at_once(folder, tmp_path, labels, options, error, message):
    with pytest.raises(error, match=message):
        score_recordings(folder, tmp_path / "out.parquet", labels, **options)
    assert not list(tmp_path.iterdir())


def test_folders_that_cannot_be_listed_completely_are_refused(folder, tmp_path):
    with pytest.raises(CorpusError, match="not a folder"):
        score_recordings(tmp_path / "absent", tmp_path / "out.parquet", LABELS)
    (tmp_path / "in").mkdir()
    with pytest.raises(CorpusError, match="holds no recordings"):
        score_recordings(tmp_path / "in", tmp_path / "out.parquet", LABELS)
    (tmp_path / "in" / "link").symlink_to(folder)
    with pytest.raises(CorpusError, match="link is a symbolic link to a folder"):
        score_recordings(tmp_path / "in", tmp_path / "out.parquet", LABELS)
    (tmp_path / "other.parquet.partial").mkdir()
    (tmp_path / "other.parquet.partial" / "mine.txt").write_text("something else")
    with pytest.raises(CorpusError, match="holds something else"):
        score_recordings(folder, tmp_path / "other.parquet", LABELS)
    assert [path.name for path in (tmp_path / "other.parquet.partial").iterdir()] == ["mine.txt"]


def test_the_command_prints_how_many_failed_and_the_disclaimer(folder, tmp_path, capsys):
    (tmp_path / "labels.txt").write_text("\ufeffatrial fibrillation\n\n  left bundle branch block \nnormal ECG")
    assert read_labels(tmp_path / "labels.txt") == LABELS
    command = ["score", str(folder), str(tmp_path / "out.parquet"), "--labels_file", str(tmp_path / "labels.txt")]
    assert main([*command, "--num_proc", "0"]) == 0
    printed = capsys.readouterr().out.strip().splitlines()
    assert printed[-3].startswith("8 records in ") and "3 could not be read" in printed[-3]
    assert printed[-2] == "Not recordings by their content, so without a row: 1 in .txt (notes.txt)"
    assert printed[-1] == "Research use only. Not a medical device."
    stated = json.loads(pyarrow.parquet.read_schema(tmp_path / "out.parquet").metadata[b"cgdmer"])
    assert stated["labels"] == LABELS and "Not a medical device" in stated["note"]


def test_files_of_the_clinic_in_a_folder(classify, tmp_path):
    """They keep their suffix in the id, unlike WFDB records; XML that is not an ECG is a row with the reason."""
    record = simulate_record(["sinus_rhythm"], seed=9, sampling_rate=100)
    counts = np.rint(record.signal * 1000).astype(int)
    folder = tmp_path / "in"
    write_wfdb(record, folder / "one")
    for number, (suffix, writer) in enumerate(WRITERS.values()):
        writer(folder / f"{number}{suffix.upper()}", counts, 1.0, record.sampling_rate, record.lead_names)
    (folder / "web.xml").write_text("<html/>")
    answer = score_recordings(folder, tmp_path / "out.parquet", LABELS, num_proc=0)
    rows = rows_of(tmp_path / "out.parquet")
    assert list(rows) == ["0.DCM", "1.EDF", "2.XML", "3.XML", "one", "web.xml"] and answer["unreadable"] == 1
    assert "'html'" in rows.pop("web.xml")["error"]
    for label in LABELS:
        assert np.ptp([row[label] for row in rows.values()]) < 1e-3 and rows["one"][label] is not None


def test_every_file_of_a_folder_has_a_row_or_a_word(tmp_path, capsys):
    record = simulate_record(["sinus_rhythm"], seed=9, sampling_rate=100)
    counts = np.rint(record.signal * 1000).astype(int)
    folder = tmp_path / "in"
    write_wfdb(record, folder / "DICOMDIR" / "one")  # of which .dat is a part
    (folder / "DICOMDIR" / "one.atr").write_bytes(b"annotations")
    (folder / "DICOMDIR" / "other.dat").write_bytes(b"no record's")
    for number, (_, writer) in enumerate(WRITERS.values()):
        writer(folder / f"IM00000{number}", counts, 1.0, record.sampling_rate, record.lead_names)
    for name in ("x.csv", "one.CSV", "README", "a.npy", "b.npy", "page.html"):
        (folder / name).write_bytes(b"<p>AnnotatedECG is a word here" if name == "page.html" else b"1,2\n")
    (folder / "to_nowhere").symlink_to(folder / "nowhere")
    os.mkfifo(folder / "pipe")  # would block whoever opens it
    command = ["score", str(folder), str(tmp_path / "out.parquet"), "--labels", *LABELS, "--num_proc", "0", "--json"]
    assert main(command) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["not_read"] == {
        ".csv": ["one.CSV", "x.csv"],
        ".dat": ["DICOMDIR/other.dat"],
        ".html": ["page.html"],
        ".npy": ["a.npy", "b.npy"],
        "no suffix": ["README", "pipe", "to_nowhere"],
    }
    rows = rows_of(tmp_path / "out.parquet")
    assert list(rows) == ["DICOMDIR/one", "IM000000", "IM000001", "IM000002", "IM000003"]
    assert answer["records"] == 5 and answer["unreadable"] == 0
    (folder / "recordings").mkdir()
    (folder / "recordings" / "a.csv").write_text("1,2\n")
    with pytest.raises(CorpusError, match=r"holds no recordings.*Its files: 1 in \.csv \(a\.csv\)"):
        score_recordings(folder / "recordings", tmp_path / "none.parquet", LABELS)


def test_channels_of_a_folder_can_be_named(tmp_path, capsys):
    record = simulate_record(["sinus_rhythm"], seed=9, sampling_rate=100)
    write_wfdb(replace(record, signal=record.signal[1:2], lead_names=("ECG",)), tmp_path / "in" / "one")
    write_wfdb(replace(record, signal=record.signal[1:2], lead_names=("II",)), tmp_path / "known" / "one")
    rows = []
    for folder, more in (("in", ["--lead_names", "ECG=II"]), ("in", ["--lead_names", "II"]), ("known", [])):
        output = tmp_path / f"{len(rows)}.parquet"
        command = ["score", str(tmp_path / folder), str(output), "--labels", *LABELS, "--num_proc", "0", *more]
        assert main(command) == 0
        rows.append(rows_of(output)["one"])
    assert rows[0] == rows[1] == rows[2] and rows[0]["normal ECG"] is not None
    assert main(["score", str(tmp_path / "in"), str(tmp_path / "x.parquet"), "--labels", *LABELS]) == 0
    assert "--lead_names ECG=II" in rows_of(tmp_path / "x.parquet")["one"]["error"]


def test_naming_the_leads_leaves_other_channels_out(classify, dataset_folder, tmp_path):
    record = simulate_record(["left_bundle_branch_block"], seed=9, sampling_rate=500)
    write_wfdb(record, tmp_path / "twelve" / "one")
    write_wfdb(with_frank_leads(record), tmp_path / "fifteen" / "one")
    rows = {}
    for name, leads in {"twelve": None, "fifteen": STANDARD_LEADS, "all": None, "turned": ("V1", "I")}.items():
        source, output = tmp_path / ("twelve" if name == "twelve" else "fifteen"), tmp_path / f"{name}.parquet"
        score_recordings(source, output, LABELS, leads=leads, num_proc=0)
        rows[name] = rows_of(output)["one"]
    assert "'vx' is not one of the twelve" in rows["all"]["error"]
    for label in LABELS:
        assert rows["fifteen"][label] == rows["twelve"][label] is not None
    two = replace(record, signal=record.signal[[0, 6]], lead_names=("I", "V1"))
    for scored in classify(two, candidate_labels=LABELS):
        assert rows["turned"][scored["label"]] == pytest.approx(scored["score"], abs=1e-4)
    score_recordings(dataset_folder, tmp_path / "one.parquet", LABELS, leads=["I"], num_proc=0)
    known, scored = row_to_record(load_dataset_folder(dataset_folder)["train"][0]), rows_of(tmp_path / "one.parquet")
    alone = replace(known, signal=known.signal[:1], lead_names=("I",), gain=None, baseline=None)
    for row in classify(alone, candidate_labels=LABELS):
        assert scored[known.record_id][row["label"]] == pytest.approx(row["score"], abs=1e-4)


def test_a_run_continues_only_with_the_same_leads(folder, tmp_path, monkeypatch):
    run_killed_at(monkeypatch, "finish", 1, folder, tmp_path / "out.parquet", LABELS, num_proc=0)
    with pytest.raises(CorpusError, match=r"differs in: records\."):
        score_recordings(folder, tmp_path / "out.parquet", LABELS, leads=["I"], num_proc=0)


# The table

SCHEMA = pa.schema([("record_id", pa.string()), ("score", pa.float32()), ("error", pa.string())])


def some_rows(first: int, count: int) -> pa.Table:
    numbers = range(first, first + count)
    columns = {
        "record_id": [f"r{one}" for one in numbers],
        "score": [one / 7 for one in numbers],
        "error": [None] * count,
    }
    return pa.table(columns, schema=SCHEMA)


def begun(target: Path, *counts: int) -> Path:
    """Write parts with these numbers of rows; returns their folder."""
    with GrowingTable(target, SCHEMA, {"labels": ["a"]}) as table:
        for count in counts:
            table.append(some_rows(table.num_rows, count))
            table.flush()
        return table.folder


HOLDING_RUN = """
import multiprocessing, sys, time
from pathlib import Path
import pyarrow as pa
from cgdmer.inference.growing_table import GrowingTable

schema = pa.schema([("record_id", pa.string()), ("score", pa.float32()), ("error", pa.string())])
with GrowingTable(Path(sys.argv[1]), schema, {"labels": ["a"]}):
    reader = multiprocessing.get_context("fork").Process(target=len, args=([],))
    reader.start()
    reader.join()  # it had the lock too, and did not release it
    print("at work", flush=True)
    time.sleep(3600)
"""


def test_a_second_run_on_one_output_is_refused(tmp_path, monkeypatch):
    target = tmp_path / "out.parquet"
    folder = begun(target, 3)
    command = [sys.executable, "-c", HOLDING_RUN, str(target)]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout.readline() == "at work\n"
        monkeypatch.setattr(growing_table, "LOCK_PATIENCE", 0.2)
        with pytest.raises(CorpusError, match=r"another run is writing .*out\.parquet"):
            GrowingTable(target, SCHEMA, {"labels": ["a"]})
        first.kill()
    assert (folder / "lock").exists()  # left by the killed run, and blocks nobody
    with GrowingTable(target, SCHEMA, {"labels": ["a"]}) as table:
        assert table.num_rows == 3
        table.append(some_rows(3, 2))
        table.finish(5)
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]


def test_a_run_that_is_killed_can_be_started_again_at_once(dataset_folder, tmp_path):
    """Its reading processes hold the lock too, for the seconds that they survive."""
    output = tmp_path / "out.parquet"
    command = [sys.executable, "-c", KILLED_RUN, str(dataset_folder), str(output), *LABELS]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as killed:
        killed.wait()
    assert killed.returncode == -signal.SIGKILL
    assert score_recordings(dataset_folder, output, LABELS, batch_size=4, num_proc=0)["records"] == 30


def test_no_file_is_finished_with_missing_rows(tmp_path):
    target = tmp_path / "out.parquet"
    with GrowingTable(target, SCHEMA, {"labels": ["a"]}) as table:
        for first in (0, 3, 6):
            table.append(some_rows(first, 3))
            table.flush()
        (table.folder / "000000000003.parquet").unlink()  # by someone else
        with pytest.raises(CorpusError, match="holds 3 readable rows; expected 9"):
            table.finish(9)
    assert not target.exists()
    with GrowingTable(target, SCHEMA, {"labels": ["a"]}) as table:
        assert table.num_rows == 3
        table.append(some_rows(3, 6))
        assert table.finish(9)["record_id"].to_pylist() == [f"r{one}" for one in range(9)]


def test_an_existing_file_is_not_replaced(tmp_path):
    target = tmp_path / "out.parquet"
    target.write_text("mine")
    for make_folder in (False, True):
        folder = tmp_path / "out.parquet.partial"
        if make_folder:
            folder.mkdir()  # empty, as a kill may leave it
        with pytest.raises(CorpusError, match="exists already"):
            GrowingTable(target, SCHEMA, {"labels": ["a"]})
        assert target.read_text() == "mine" and not folder.exists()


def test_a_part_is_computed_again_wherever_it_is_damaged(tmp_path):
    """A power failure may leave zeros in place of any block: the footer, a page, everything."""
    folder = begun(tmp_path / "out.parquet", 5, 5)
    path = folder / "000000000005.parquet"
    whole = path.read_bytes()
    step = 16
    for start in range(0, len(whole), step):
        zeroed = whole[:start] + bytes(min(step, len(whole) - start)) + whole[start + step :]
        path.write_bytes(zeroed)
        with GrowingTable(tmp_path / "out.parquet", SCHEMA, {"labels": ["a"]}) as table:
            kept = pa.concat_tables(table._parts())
            # Zeros may hit what is never read, such as statistics; but no row is ever wrong.
            assert kept.equals(some_rows(0, table.num_rows)) and table.num_rows in (5, 10)
            assert table.num_rows == 5 or pa.parquet.read_table(path).equals(some_rows(5, 5))
    for content in (bytes(len(whole)), whole[:-9], b"", whole[: len(whole) // 2] + bytes(len(whole) // 2)):
        path.write_bytes(content)
        with GrowingTable(tmp_path / "out.parquet", SCHEMA, {"labels": ["a"]}) as table:
            assert table.num_rows == 5


def test_files_are_synced_before_they_are_renamed(tmp_path, monkeypatch):
    """Checks the order of the system calls; a power failure cannot be tried here."""
    calls = []
    synced, replaced = os.fsync, os.replace
    monkeypatch.setattr(
        os, "fsync", lambda number: calls.append(os.readlink(f"/proc/self/fd/{number}")) or synced(number)
    )
    monkeypatch.setattr(os, "replace", lambda path, to: calls.append("rename") or replaced(path, to))
    with GrowingTable(tmp_path / "out.parquet", SCHEMA, {"labels": ["a"]}) as table:
        table.append(some_rows(0, 3))
        table.finish(3)
    names = [re.sub(rf"\.{os.getpid()}\.[0-9a-f]+\.part$", "", Path(call).name) for call in calls]
    folder = "out.parquet.partial"
    job, part = [".job.json", "rename", folder], [".000000000000.parquet", "rename", folder]
    assert names == [*job, *part, ".out.parquet", "rename", tmp_path.name]
    assert Path(calls[-3]).parent.name == folder  # where the next run would remove it


def test_names_that_are_not_utf8_are_rows_too(folder, tmp_path, monkeypatch):
    source = tmp_path / "in"
    source.mkdir()
    for suffix in (".hea", ".dat"):
        shutil.copyfile(folder / f"short{suffix}", source / f"short{suffix}")
    try:
        (source / os.fsdecode(b"caf\xe9.hea")).write_bytes(b"no header")
    except OSError:
        pytest.skip("the file system takes UTF-8 names alone")
    output = tmp_path / "out.parquet"
    run_killed_at(monkeypatch, "finish", 1, source, output, LABELS, num_proc=1)
    assert score_recordings(source, output, LABELS, num_proc=1)["unreadable"] == 1
    rows = rows_of(output)
    assert list(rows) == ["caf\\udce9", "short"] and "caf\\udce9" in rows["caf\\udce9"]["error"]


def test_a_file_of_labels_has_a_largest_size(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("".join(f"{number:06d}\n" for number in range(142_857)))  # 999,999 bytes
    assert len(read_labels(path)) == 142_857
    path.write_text("".join(f"{number:06d}\n" for number in range(142_858)))
    with pytest.raises(ECGInputError, match=r"labels\.txt cannot be read: it is larger than 1,000,000 bytes"):
        read_labels(path)


def test_outputs_and_label_files_that_are_refused(tmp_path):
    with pytest.raises(ConfigurationError, match=r"out.csv: the table is written as Parquet"):
        score_recordings(tmp_path, tmp_path / "out.csv", LABELS)
    labels = tmp_path / "labels.txt"
    for content, message in (("\n \n", "holds no label"), ("AF\nSR\n AF\n", "holds the label 'AF' more than once")):
        labels.write_text(content)
        with pytest.raises(ECGInputError, match=rf"labels.txt {message}"):
            read_labels(labels)


def test_measured_columns_are_those_of_classify(tmp_path):
    for seed, name in enumerate(["sinus_rhythm", "first_degree_av_block", "atrial_fibrillation"]):
        write_wfdb(simulate_record([name], seed=seed), tmp_path / "records" / name)
    write_wfdb(simulate_record(["sinus_rhythm"], seed=9, sampling_rate=100), tmp_path / "records" / "slow")
    zeros = simulate_record(["sinus_rhythm"], seed=9)
    write_wfdb(replace(zeros, signal=np.zeros_like(zeros.signal)), tmp_path / "records" / "zero")
    tables = []
    for num_proc in (0, 2):
        output = tmp_path / f"{num_proc}.parquet"
        score_recordings(tmp_path / "records", output, LABELS[:1], measure=True, num_proc=num_proc)
        tables.append(rows_of(output))
    assert tables[0] == tables[1]
    rows = tables[0]
    for name in ("sinus_rhythm", "first_degree_av_block", "atrial_fibrillation"):
        measured, _ = remarks_on(read_wfdb(tmp_path / "records" / name))
        assert rows[name]["heart_rate"] == pytest.approx(measured.rate.heart_rate)
        for interval in ("pr_interval", "qrs_duration", "qt_interval", "qtc_interval", "axis"):
            expected = getattr(measured.intervals, interval)
            assert rows[name][interval] == (None if expected is None else pytest.approx(expected, rel=1e-5))
    assert rows["first_degree_av_block"]["pr_interval"] > 0.2 and rows["atrial_fibrillation"]["pr_interval"] is None
    assert rows["slow"]["heart_rate"] > 40 and rows["slow"]["qrs_duration"] is None
    assert rows["zero"]["error"] and rows["zero"]["heart_rate"] is None


def test_measuring_needs_its_extra(tmp_path, monkeypatch):
    monkeypatch.setattr(scoring, "can_measure", lambda: False)
    write_wfdb(simulate_record(["sinus_rhythm"], seed=1), tmp_path / "records" / "one")
    with pytest.raises(ConfigurationError, match=r"cgdmer\[measure\]"):
        score_recordings(tmp_path / "records", tmp_path / "out.parquet", LABELS[:1], measure=True)


def test_scores_alone_are_the_same_scores(tmp_path):
    record = simulate_record(["sinus_rhythm"], seed=1, sampling_rate=100)
    write_wfdb(replace(record, signal=10 * record.signal), tmp_path / "records" / "large")
    for name, options in (("all", {}), ("only", {"scores_only": True})):
        score_recordings(tmp_path / "records", tmp_path / f"{name}.parquet", LABELS, num_proc=0, **options)
    (judged,), (alone,) = (rows_of(tmp_path / f"{name}.parquet").values() for name in ("all", "only"))
    assert [judged[label] for label in LABELS] == [alone[label] for label in LABELS]
    assert judged["doubts"] and judged["familiarity"] is not None
    assert alone["doubts"] == "" and alone["familiarity"] is None
    with pytest.raises(ConfigurationError, match="scores_only"):
        score_recordings(tmp_path / "records", tmp_path / "no.parquet", LABELS, scores_only=True, abstain=0.05)
