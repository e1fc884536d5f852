# SPDX-License-Identifier: Apache-2.0
"""Find records of a dataset by a text, or reports by a record."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from cgdmer.about import RESEARCH_USE_ONLY
from cgdmer.commands._arguments import Positional, model_option
from cgdmer.options import Marker, option

DESCRIPTION = f"""\
Finds the records whose ECGs are nearest to TEXT, or the reports nearest to the ECG of --record. Embeddings
are kept, so a second search is fast. {RESEARCH_USE_ONLY}"""


@dataclass
class Arguments:
    dataset: Positional = option("a dataset that `cgdmer prepare` wrote")
    text: Annotated[str | None, Marker.POSITIONAL] = option(
        'what to search for, e.g. "atrial fibrillation with fast ventricular response"', None
    )
    record: str | None = option("instead of TEXT: the id of a record in the dataset, or the path of one", None)
    top: int = option("number of results", 10)
    model: str | None = model_option()
    splits: list[str] | None = option("splits of the dataset to use (default: all)", None)
    cache_dir: str | None = option("folder where embeddings are kept (default: DATASET.embeddings)", None)


def run(arguments: Arguments, say: Callable[..., None]) -> dict[str, Any]:
    from cgdmer.inference.search import search_dataset

    found = search_dataset(**vars(arguments))
    for row in found:
        who = row["record_id"] if arguments.record is None else f"{row['records']} records"
        say(f"{row['cosine']:6.3f}  {who}  {' '.join((row['text'] or '(no report)').split())}")
    return {"found": found, "note": RESEARCH_USE_ONLY}
