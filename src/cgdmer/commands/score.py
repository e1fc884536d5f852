# SPDX-License-Identifier: Apache-2.0
"""Score findings for every recording of a folder."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cgdmer.about import RESEARCH_USE_ONLY
from cgdmer.commands._arguments import LABELS_HELP, Leads, Positional, leads_option, model_option
from cgdmer.models.errors import ConfigurationError
from cgdmer.options import option

DESCRIPTION = f"""\
Writes a Parquet file with one row per record: record_id, one column of scores per label, and the error if
the record could not be read. After Ctrl-C or a kill, the same command continues from the finished part, in
OUT.parquet.partial. {RESEARCH_USE_ONLY}"""


@dataclass
class Arguments:
    source: Positional = option("a folder with recordings, or a dataset that `cgdmer prepare` wrote")
    output: Positional = option("a new file", metavar="OUT.parquet")
    labels: list[str] | None = option(LABELS_HELP, None)
    labels_file: str | None = option("instead of --labels: a text file with one label per line", None)
    model: str | None = model_option()
    splits: list[str] | None = option("splits of a prepared dataset to use (default: all)", None)
    leads: Leads = leads_option()
    embeddings: bool = option("add a column with each record's embedding, a unit vector", False)
    batch_size: int = option("records per batch", 64)
    num_proc: int = option("processes that read, besides the one that runs the model", 2)

    def __post_init__(self) -> None:
        if self.labels is not None and self.labels_file is not None:
            raise ConfigurationError("name the findings to score with either --labels or --labels_file, not both.")


def run(arguments: Arguments, say: Callable[..., None]) -> dict[str, Any]:
    from cgdmer.inference.scoring import read_labels, score_recordings

    options = dict(vars(arguments))
    if (labels_file := options.pop("labels_file")) is not None:
        options["labels"] = read_labels(labels_file)
    answer = score_recordings(**options)
    say(f"{answer['records']} records in {answer['output']}; {answer['unreadable']} could not be read", end="")
    say(" (see its column error)" if answer["unreadable"] else "")
    return {**answer, "note": RESEARCH_USE_ONLY}
