# SPDX-License-Identifier: Apache-2.0
"""Score findings for every recording of a folder."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cgdmer.about import RESEARCH_USE_ONLY
from cgdmer.commands._arguments import (
    LABELS_HELP,
    Leads,
    Positional,
    abstain_option,
    force_unknown_option,
    lead_names_option,
    leads_option,
    model_option,
    separated,
)
from cgdmer.models.errors import ConfigurationError
from cgdmer.options import option

DESCRIPTION = f"""\
Writes a Parquet file with one row per record: record_id, one column of scores per label, which leads and
seconds were used and why others were not, and the error if the record could not be read. A fine-tuned
classifier scores its own labels. After Ctrl-C or a kill, the same command continues from the finished part,
in OUT.parquet.partial. {RESEARCH_USE_ONLY}"""


@dataclass
class Arguments:
    source: Positional = option("a folder with recordings, or a dataset that `cgdmer prepare` wrote")
    output: Positional = option("a new file", metavar="OUT.parquet")
    labels: list[str] | None = option(LABELS_HELP, None)
    labels_file: str | None = option("instead of --labels: a text file with one label per line", None)
    model: str | None = model_option()
    splits: list[str] | None = option("splits of a prepared dataset to use (default: all)", None)
    leads: Leads = leads_option()
    lead_names: list[str] | None = lead_names_option()
    embeddings: bool = option("add a column with each record's embedding, a unit vector", False)
    measure: bool = option(
        "add columns with heart rate, PR, QRS, QT, QTc, and axis, measured on the signal without the model (extra "
        "measure)",
        False,
    )
    force_unknown: bool = force_unknown_option()
    abstain: float | None = abstain_option()
    scores_only: bool = option(
        "neither look for doubts about recordings nor compare them with those of training", False
    )
    batch_size: int = option("records per batch", 64)
    num_proc: int = option("processes that read, besides the one that runs the model", 2)

    def __post_init__(self) -> None:
        if self.labels is not None and self.labels_file is not None:
            raise ConfigurationError("name the findings to score with either --labels or --labels_file, not both.")


def run(arguments: Arguments, say: Callable[..., None]) -> dict[str, Any]:
    from cgdmer.inference.scoring import read_labels, score_recordings
    from cgdmer.inference.sources import files_in_words

    options = {**vars(arguments), "lead_names": separated(arguments.lead_names)}
    if (labels_file := options.pop("labels_file")) is not None:
        options["labels"] = read_labels(labels_file)
    answer = score_recordings(**options)
    say(f"{answer['records']} records in {answer['output']}; {answer['unreadable']} could not be read", end="")
    say(" (see its column error)" if answer["unreadable"] else "")
    if answer["not_read"]:
        say(f"Not recordings by their content, so without a row: {files_in_words(answer['not_read'])}")
        if any(suffix in answer["not_read"] for suffix in (".csv", ".npy")):
            say("Tables of numbers do not state their rate, unit and leads: `cgdmer prepare folder` takes them.")
    if answer["not_known"]:
        say(f"Not known to the model, so without scores: {', '.join(answer['not_known'])}")
    if answer["abstained"]:
        say(f"{answer['abstained']} have no scores (--abstain), because they are doubted or unfamiliar")
    if answer["with_unused_leads"]:
        say(f"{answer['with_unused_leads']} have leads that were not used (see its column leads_not_used)")
    return {**answer, "note": RESEARCH_USE_ONLY}
