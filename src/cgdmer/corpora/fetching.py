# SPDX-License-Identifier: Apache-2.0
"""Fetches a corpus from PhysioNet file by file with wfdb's downloader, so that an interrupted download can continue.

A file is downloaded to `RAW_DIR/.fetching` and moved into place when complete; a file in place is not requested again.
To spare the server there are two connections at a time, which is also wfdb's own default. To get all of a large corpus
faster, use the archive or `aws s3 sync --no-sign-request s3://physionet-open/mimic-iv-ecg/1.0 DIR`.
"""

import os
import shutil
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from cgdmer.corpora.corpus import CorpusRow, Download, path_inside
from cgdmer.corpora.register import checked_options
from cgdmer.files.tables import read_list
from cgdmer.models.errors import CorpusError

_CONNECTIONS = 2
_WAITS = (1.0, 5.0, 20.0)  # seconds before each further attempt
_FILES_PER_BATCH = 200  # the list of a large corpus is never all in memory


def fetch_corpus(name: str, raw_dir: str | os.PathLike[str], **options: Any) -> dict[str, int]:
    """Fetch the files that `prepare_corpus` will read with the same options, except those already there.

    The records are those listed in the corpus's table or, if it has none, in the `RECORDS` files of its folders. The
    server's URL is wfdb's (set another one with `wfdb.set_db_index_url`).

    Args:
        name: "ptb-xl" or another corpus that can be fetched.
        raw_dir: where to put the files; created if needed.
        options: as in `prepare_corpus`. PTB-XL's files are fetched at the given sampling rate.

    Returns:
        The numbers of files `fetched`, `already_there`, and `absent` from the server.

    Raises:
        CorpusError: the corpus cannot be fetched, a table or list is not on the server, or the server failed four
            times in a row. The files fetched so far are kept.
        KeyboardInterrupt: after Ctrl-C. The files fetched so far are kept.
    """
    corpus, options = checked_options(name, options)
    if corpus.download is None:
        raise CorpusError(f"{name} cannot be fetched: name a folder that holds the records.")
    folder = Path(raw_dir)
    with _Fetcher(folder, corpus.download) as fetcher:
        try:
            fetcher.fetch_needed(corpus.download.tables or _record_lists(fetcher, folder, corpus.download))
            total, rows = corpus.rows(folder, options)
            suffixes = corpus.download.suffixes
            names = (
                f"{path_inside(row.path, f'the list of {name}')}{suffix}"
                for row in rows
                if isinstance(row, CorpusRow)
                for suffix in suffixes
            )
            fetcher.fetch_listed(names, total * len(suffixes), f"fetching {corpus.source.name}")
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"{folder} keeps what was fetched: start the same command again.") from None
    return fetcher.counts


def _record_lists(fetcher: "_Fetcher", folder: Path, download: Download) -> Iterator[str]:
    """The database's `RECORDS` file, which lists folders, and that of each folder of the corpus."""
    fetcher.fetch_needed(["RECORDS"])
    for name in read_list(folder / "RECORDS"):
        if name.startswith(download.folder) and name.endswith("/"):
            yield f"{path_inside(name, 'RECORDS')}/RECORDS"


class _Fetcher:
    """Fetches files of one database into one folder."""

    def __init__(self, folder: Path, download: Download) -> None:
        self.counts = {"fetched": 0, "already_there": 0, "absent": 0}
        self._folder = folder
        self._staging = folder / ".fetching"
        self._database = download.database

    def __enter__(self) -> "_Fetcher":
        try:
            self._staging.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CorpusError(f"{self._folder} cannot be written: {error}") from error
        self._pool = ThreadPoolExecutor(_CONNECTIONS)
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        shutil.rmtree(self._staging, ignore_errors=True)

    def fetch_needed(self, names: Iterable[str]) -> None:
        """Fetch files that reading the corpus depends on."""
        for name in tqdm(list(names), desc="fetching tables", unit=" files", leave=False):
            if self._fetch(name) == "absent":
                raise CorpusError(f"the server has no {self._database}/{name}. Has another version been published?")

    def fetch_listed(self, names: Iterator[str], total: int, description: str) -> None:
        """Fetch files, two at a time, and count those that the server does not have."""
        with tqdm(total=total, desc=description, unit=" files", smoothing=0.05) as progress:
            while batch := list(islice(names, _FILES_PER_BATCH)):
                for outcome in self._pool.map(self._fetch, batch):
                    self.counts[outcome] += 1
                    progress.update()

    def _fetch(self, name: str) -> str:
        """Returns the key in `counts` of what was done."""
        place = self._folder / name
        if place.exists():
            return "already_there"
        for wait in (*_WAITS, None):
            try:
                self._fetch_once(name, place)
                return "fetched"
            except OSError as error:  # network errors too, which have no errno
                if error.errno is not None:
                    raise CorpusError(f"{place} could not be written: {error}") from error
                if isinstance(error, FileNotFoundError):
                    return "absent"
                if wait is None or isinstance(error, PermissionError):
                    raise CorpusError(
                        f"{self._database}/{name} could not be fetched: {error}. What was fetched is kept in "
                        f"{self._folder}: start the same command again to continue."
                    ) from error
                time.sleep(wait)
        raise AssertionError("unreachable")

    def _fetch_once(self, name: str, place: Path) -> None:
        from wfdb.io.download import dl_pn_file

        directory, _, base = name.rpartition("/")
        (self._staging / directory).mkdir(parents=True, exist_ok=True)
        dl_pn_file((base, directory, self._database, str(self._staging), True, True))
        place.parent.mkdir(parents=True, exist_ok=True)
        (self._staging / name).replace(place)
