# SPDX-License-Identifier: Apache-2.0
"""`cgdmer score`: score findings in free text for every recording of a folder."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from cgdmer.about import RESEARCH_USE_ONLY
from cgdmer.commands._arguments import LABELS_HELP, Leads, Positional, leads_option, model_option
from cgdmer.models.errors import ConfigurationError
from cgdmer.options import Marker, option

HELP = "score findings in free text for every recording of a folder"
DESCRIPTION = f"""\
Writes a Parquet file with a row for each record: record_id, a column of scores for each label, and error for one
that could not be read. After Ctrl-C or a kill the same command goes on from what is finished, in
OUT.parquet.partial. {RESEARCH_USE_ONLY}"""


@dataclass
class Arguments:
    source: Positional = option("a folder with recordings, or a dataset written by `cgdmer prepare`")
    output: Annotated[str, Marker.POSITIONAL] = option("a new file", metavar="OUT.parquet")
    labels: list[str] | None = option(LABELS_HELP, None)
    labels_file: str | None = option("instead of --labels: a text file with a label on each line", None)
    model: str | None = model_option()
    splits: list[str] | None = option("of a prepared dataset (default: all)", None)
    leads: Leads = leads_option()
    embeddings: bool = option("also a column with each record's unit vector", False)
    batch_size: int = option("records at a time", 64)
    num_proc: int = option("processes that read beside the one with the model", 2)

    def __post_init__(self) -> None:
        if (self.labels is None) == (self.labels_file is None):
            raise ConfigurationError("name the findings to score either with --labels or with --labels_file.")


def run(arguments: Arguments, say: Callable[..., None]) -> dict[str, Any]:
    from cgdmer.inference.scoring import read_labels, score_recordings

    answer = score_recordings(
        arguments.source,
        arguments.output,
        arguments.labels or read_labels(arguments.labels_file or ""),
        arguments.model,
        splits=arguments.splits,
        leads=arguments.leads,
        embeddings=arguments.embeddings,
        batch_size=arguments.batch_size,
        num_proc=arguments.num_proc,
    )
    say(f"{answer['records']} records in {answer['output']}; {answer['unreadable']} could not be read", end="")
    say(" (see its column error)" if answer["unreadable"] else "")
    say(RESEARCH_USE_ONLY)
    return {**answer, "note": RESEARCH_USE_ONLY}
