# SPDX-License-Identifier: Apache-2.0
"""Fetching a corpus from a loopback server that behaves like PhysioNet's and misbehaves when told to."""

import os
import threading
from collections import Counter
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import wfdb
from wfdb_files import assert_same_dataset, write_csn, write_mimic, write_record, write_table

from cgdmer.commands import main
from cgdmer.corpora import fetching
from cgdmer.corpora.fetching import fetch_corpus
from cgdmer.corpora.preparing import prepare_corpus
from cgdmer.corpora.register import CORPORA, get_corpus
from cgdmer.models.errors import CorpusError


class Server(ThreadingHTTPServer):
    """Serves a folder. For the end of a path, `faults` gives what goes wrong with the next requests for it."""

    def __init__(self, folder: Path):
        super().__init__(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.folder = folder
        self.faults: dict[str, list[str]] = {}
        self.asked: Counter[str] = Counter()


class Handler(SimpleHTTPRequestHandler):
    def do_GET(self):
        self.server.asked[self.path] += 1
        for end, waiting in self.server.faults.items():
            if self.path.endswith(end) and waiting:
                return self.fail(waiting.pop(0))
        return super().do_GET()

    def fail(self, fault: str) -> None:
        if fault == "cut":  # half of the file, then the connection breaks
            content = Path(self.translate_path(self.path)).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
        else:
            self.send_error(int(fault))

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """An empty PhysioNet."""
    (tmp_path / "physionet").mkdir()
    monkeypatch.setattr(fetching, "_WAITS", (0.0, 0.0, 0.0))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server(tmp_path / "physionet") as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        wfdb.set_db_index_url(f"http://127.0.0.1:{server.server_address[1]}")
        yield server
        wfdb.set_db_index_url()
        server.shutdown()
        thread.join()


def write_lists(folder: Path, part: str = "") -> None:
    """PhysioNet's `RECORDS` files: the database's lists folders, each folder's lists its records."""
    folders = sorted({path.parent for path in folder.rglob("*.hea")})
    (folder / part).mkdir(exist_ok=True)
    (folder / "RECORDS").write_text("".join(f"{one.relative_to(folder).as_posix()}/\n" for one in folders))
    for one in folders:
        (one / "RECORDS").write_text("".join(f"{path.stem}\n" for path in sorted(one.glob("*.hea"))))


def written_files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_mimic_is_fetched_by_its_tables_and_gives_the_same(server, tmp_path, capsys):
    published = write_mimic(server.folder / "mimic-iv-ecg" / "1.0")
    (published / "waveform_note_links.csv").write_text("not needed\n")
    assert main(["prepare", "mimic-iv-ecg", str(tmp_path / "raw"), str(tmp_path / "fetched"), "--download"]) == 0
    assert "24 files fetched, 0 already there, 0 not on the server" in capsys.readouterr().out
    prepare_corpus("mimic-iv-ecg", published, tmp_path / "direct")
    assert_same_dataset(tmp_path / "fetched", tmp_path / "direct")
    expected = written_files(published)
    del expected["waveform_note_links.csv"]
    assert written_files(tmp_path / "raw") == expected


def test_ptbxl_is_fetched_at_the_given_rate(server, tmp_path, real_data):
    published = server.folder / "ptb-xl"
    published.mkdir()
    (published / "1.0.3").symlink_to(real_data / "ptb-xl-subset")
    table = (real_data / "ptb-xl-subset" / "ptbxl_database.csv").read_text(encoding="utf-8").splitlines()
    raw = tmp_path / "raw"
    raw.mkdir()
    # An existing table is not fetched again. A short one keeps the test short.
    chosen = [line for line in table[1:] if "records500" in line][:40]
    (raw / "ptbxl_database.csv").write_text("\n".join([table[0], *chosen]) + "\n", encoding="utf-8")
    low = fetch_corpus("ptb-xl", raw)
    assert low["fetched"] + low["absent"] == 80 and low["fetched"] > 0
    assert (raw / "records100").is_dir() and not (raw / "records500").exists()
    again = fetch_corpus("ptb-xl", raw)
    assert again == {"fetched": 0, "already_there": low["fetched"], "absent": low["absent"]}
    assert fetch_corpus("ptb-xl", raw, sampling_rate=500)["absent"] == 80 - 2 * len(list(raw.rglob("*_hr.hea")))


def test_csn_is_fetched_folder_by_folder(server, tmp_path):
    published = write_csn(server.folder / "ecg-arrhythmia" / "1.0.0", 25)
    write_lists(published)
    assert fetch_corpus("csn", tmp_path / "raw") == {"fetched": 50, "already_there": 0, "absent": 0}
    assert written_files(tmp_path / "raw") == written_files(published)
    assert prepare_corpus("csn", tmp_path / "raw", tmp_path / "out")["written"] == 25


def test_only_the_corpus_s_own_part_of_a_challenge_is_fetched(server, tmp_path):
    published = server.folder / "challenge-2021" / "1.0.3"
    for path in ("cpsc_2018/g1/A0001", "cpsc_2018/g2/A0002", "cpsc_2018_extra/g1/Q0001", "georgia/g1/E00001"):
        write_record(published / "training" / path, comments=["Dx: 426783006"], mat=True)
    write_lists(published)
    assert fetch_corpus("cpsc2018", tmp_path / "raw") == {"fetched": 4, "already_there": 0, "absent": 0}
    assert sorted(path.stem for path in (tmp_path / "raw").rglob("*.hea")) == ["A0001", "A0002"]
    counts = prepare_corpus("cpsc2018", tmp_path / "raw", tmp_path / "out")
    assert (counts["written"], counts["skipped"]) == (2, 0)  # folders in the list are not records


def test_a_file_is_complete_or_absent(server, tmp_path):
    published = write_csn(server.folder / "ecg-arrhythmia" / "1.0.0", 5)
    write_lists(published)
    server.faults = {"JS00003.mat": ["cut", "503", "cut"], "JS00004.hea": ["503"]}
    assert fetch_corpus("csn", tmp_path / "raw")["fetched"] == 10
    assert written_files(tmp_path / "raw") == written_files(published)


def test_server_that_fails_for_good_loses_nothing(server, tmp_path):
    published = write_csn(server.folder / "ecg-arrhythmia" / "1.0.0", 25)
    write_lists(published)
    server.faults = {"JS00013.mat": ["cut"] * 4}
    with pytest.raises(CorpusError, match=r"JS00013\.mat could not be fetched.*start the same command again"):
        fetch_corpus("csn", tmp_path / "raw")
    kept = written_files(tmp_path / "raw")
    assert kept and kept.items() <= written_files(published).items() and not (tmp_path / "raw" / ".fetching").exists()
    server.asked.clear()
    again = fetch_corpus("csn", tmp_path / "raw")
    assert again["already_there"] > 0 and again["already_there"] + again["fetched"] == 50
    assert written_files(tmp_path / "raw") == written_files(published)
    assert not any(path.endswith(tuple(kept)) for path in server.asked)


def test_files_the_server_lacks_are_counted_and_named_by_prepare(server, tmp_path):
    published = write_csn(server.folder / "ecg-arrhythmia" / "1.0.0", 5)
    write_lists(published)
    (published / "WFDBRecords" / "01" / "000" / "JS00002.mat").unlink()
    assert fetch_corpus("csn", tmp_path / "raw") == {"fetched": 9, "already_there": 0, "absent": 1}
    assert prepare_corpus("csn", tmp_path / "raw", tmp_path / "out")["skipped"] == 1
    assert "JS00002,absent" in (tmp_path / "out" / "skipped.csv").read_text()


def test_what_cannot_be_fetched_is_reported(server, tmp_path):
    with pytest.raises(CorpusError, match="cannot be fetched"):
        fetch_corpus("folder", tmp_path / "raw")
    with pytest.raises(CorpusError, match=r"no mimic-iv-ecg/1\.0/record_list\.csv"):
        fetch_corpus("mimic-iv-ecg", tmp_path / "raw")
    server.faults = {"RECORDS": ["403"]}
    with pytest.raises(CorpusError, match="could not be fetched"):
        fetch_corpus("csn", tmp_path / "raw")
    assert server.asked["/ecg-arrhythmia/1.0.0/RECORDS"] == 1  # asking again would not help
    (tmp_path / "file").write_text("")
    with pytest.raises(CorpusError, match="cannot be written"):
        fetch_corpus("csn", tmp_path / "file")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_folder_that_cannot_be_written(server, tmp_path):
    write_lists(write_csn(server.folder / "ecg-arrhythmia" / "1.0.0", 2))
    (tmp_path / "raw").mkdir(mode=0o500)
    with pytest.raises(CorpusError, match="cannot be written"):
        fetch_corpus("csn", tmp_path / "raw")


def test_tables_cannot_name_files_outside_the_folder(server, tmp_path):
    published = write_mimic(server.folder / "mimic-iv-ecg" / "1.0", 2)
    rows = [{"subject_id": 1, "study_id": 40_000_000, "path": "../../elsewhere"}]
    write_table(published / "record_list.csv", rows)
    with pytest.raises(CorpusError, match="not a file inside the corpus"):
        fetch_corpus("mimic-iv-ecg", tmp_path / "raw")


def test_records_that_appear_after_an_interruption_are_read(server, tmp_path, monkeypatch):
    """A part with missing records is not kept once they have appeared."""
    from cgdmer.corpora import preparing

    published = write_csn(server.folder / "ecg-arrhythmia" / "1.0.0", 12)
    write_lists(published)
    prepare_corpus("csn", published, tmp_path / "expected")
    raw = tmp_path / "raw"
    fetch_corpus("csn", raw)
    (raw / "WFDBRecords" / "01" / "000" / "JS00001.hea").unlink()
    (raw / "WFDBRecords" / "01" / "000" / "JS00001.mat").unlink()

    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(preparing, "_ROWS_PER_PART", 2)
    with monkeypatch.context() as late, pytest.raises(KeyboardInterrupt):
        late.setattr(preparing, "complete_folder", stopped)
        prepare_corpus("csn", raw, tmp_path / "out")
    assert fetch_corpus("csn", raw)["fetched"] == 2
    assert prepare_corpus("csn", raw, tmp_path / "out")["skipped"] == 0


def test_every_corpus_is_fetched_in_the_version_it_states():
    for corpus in map(get_corpus, CORPORA):
        if corpus.download is not None:
            assert corpus.source.url == f"https://physionet.org/content/{corpus.download.database}/"
            assert corpus.download.database.endswith(f"/{corpus.source.version}")
