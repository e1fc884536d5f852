# SPDX-License-Identifier: Apache-2.0
"""Convert a raw corpus to a dataset folder."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cgdmer.commands._arguments import Leads, Positional, leads_option, separated
from cgdmer.corpora.register import CORPORA
from cgdmer.options import Group, option

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
    sampling_rate: float | None = option(
        "ptb-xl: which files to read, 100 (default) or 500 Hz; folder: the rate of CSV and NPY files; others: "
        "resample to this rate (default: keep)",
        None,
    )
    min_words: int | None = option("mimic-iv-ecg: leave out reports with fewer words (default: 4)", None)
    table: Annotated[str | None, Group("a folder of your own")] = option(
        "a CSV file with one row per recording; in each, the recording's path in RAW_DIR or its file's name", None
    )
    file_column: str | None = option("column with the recording's file (default: record or file)", None)
    patient_column: str | None = option("column with the patient (default: patient_id)", None)
    text_column: str | None = option("column with the report (default: text)", None)
    label_columns: list[str] | None = option(
        "columns of 0 and 1, each for the label of its name; or with names of labels (default: labels)", None
    )
    label_separator: str | None = option(
        "what separates names of labels in a cell (default: ';', and names that look like several are refused)", None
    )
    split_column: str | None = option(
        "column with train, validation or test, or a fold from 1 to 10 (default: split or fold; without one, patients "
        "are split 70, 10 and 20 percent)",
        None,
    )
    source_column: str | None = option("column with where it comes from, such as the device (default: source)", None)
    age_column: str | None = option("column with years (default: age)", None)
    sex_column: str | None = option("column with F, W or female, M or male (default: sex)", None)
    leads: Leads = leads_option()
    unit: str | None = option("of the values in CSV and NPY files: mV, uV or V", None)
    lead_names: list[str] | None = option(
        'of the columns of CSV and NPY files, in their order; or which leads the channels of all files are: "ECG=II"',
        None,
        metavar="LEAD",
    )

    @property
    def options(self) -> dict[str, Any]:
        """The options of the corpus that were given."""
        others = ("corpus", "raw_dir", "output_dir", "download", "num_proc")
        given = {name: value for name, value in vars(self).items() if name not in others and value is not None}
        return {**given, "lead_names": separated(self.lead_names)} if self.lead_names else given


def run(arguments: Arguments, say: Callable[..., None]) -> dict[str, Any]:
    from cgdmer.corpora.fetching import fetch_corpus
    from cgdmer.corpora.preparing import prepare_corpus
    from cgdmer.files.reading import read_json_object

    given = arguments.options
    if arguments.download:
        fetched = fetch_corpus(arguments.corpus, arguments.raw_dir, **given)
        say("{fetched} files fetched, {already_there} already there, {absent} not on the server".format(**fetched))
    output_dir = arguments.output_dir
    counts = prepare_corpus(arguments.corpus, arguments.raw_dir, output_dir, num_proc=arguments.num_proc, **given)
    by_kind = read_json_object(Path(output_dir) / "summary.json")["skipped_by_kind"]
    say(f"{counts['written']} records written to {output_dir}, {counts['skipped']} skipped", end="")
    kinds = ", ".join(f"{number} {kind}" for kind, number in by_kind.items())
    say(f": {kinds} (see {output_dir}/skipped.csv)" if by_kind else "")
    return {**counts, "skipped_by_kind": by_kind}
