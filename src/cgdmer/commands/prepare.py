# SPDX-License-Identifier: Apache-2.0
"""Convert a raw corpus to a dataset folder."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cgdmer.commands._arguments import Positional
from cgdmer.corpora.register import CORPORA
from cgdmer.options import option

DESCRIPTION = """\
Reads every record of a corpus, checks it, and writes a `datasets` folder with the splits train, validation
and test. Records that cannot be read are left out and listed with the reason in skipped.csv.
After Ctrl-C or a kill, the same command continues from the finished part, in OUTPUT_DIR.partial."""


@dataclass
class Arguments:
    corpus: Positional = option("name of the corpus", choices=tuple(CORPORA))
    raw_dir: Positional = option("folder of the corpus as downloaded (ptb-xl: the one that holds ptbxl_database.csv)")
    output_dir: Positional = option("a new or empty folder")
    download: bool = option("first download what RAW_DIR lacks from PhysioNet", False)
    num_proc: int = option("processes that read and write", 1)
    sampling_rate: int | None = option(
        "ptb-xl: which files to read, 100 (default) or 500 Hz; others: resample to this rate (default: keep)", None
    )
    min_words: int | None = option("mimic-iv-ecg: leave out reports with fewer words (default: 4)", None)
    table: str | None = option("wfdb-folder: a CSV file with the texts and labels of the records", None)
    label_separator: str | None = option(
        "wfdb-folder: what separates labels in the table (default: ';', and names that look like several are refused)",
        None,
    )


def run(arguments: Arguments, say: Callable[..., None]) -> dict[str, Any]:
    from cgdmer.corpora.fetching import fetch_corpus
    from cgdmer.corpora.preparing import prepare_corpus

    given = {name: getattr(arguments, name) for name in ("sampling_rate", "min_words", "table", "label_separator")}
    given = {name: value for name, value in given.items() if value is not None}
    if arguments.download:
        fetched = fetch_corpus(arguments.corpus, arguments.raw_dir, **given)
        say("{fetched} files fetched, {already_there} already there, {absent} not on the server".format(**fetched))
    output_dir = arguments.output_dir
    counts = prepare_corpus(arguments.corpus, arguments.raw_dir, output_dir, num_proc=arguments.num_proc, **given)
    say(f"{counts['written']} records written to {output_dir}, {counts['skipped']} skipped", end="")
    say(f" (see {output_dir}/skipped.csv)" if counts["skipped"] else "")
    return counts
