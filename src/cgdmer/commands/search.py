# SPDX-License-Identifier: Apache-2.0
"""`cgdmer search`: find records of a dataset by a text, or reports by a record."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from cgdmer.about import RESEARCH_USE_ONLY
from cgdmer.commands._arguments import Positional, model_option
from cgdmer.options import Marker, option

HELP = "find records of a dataset by a text, or reports by a record"
DESCRIPTION = f"""\
With TEXT: the records whose ECGs are nearest to it. With --record: the reports nearest to its ECG.
Embeddings are kept, so that a second search is quick. {RESEARCH_USE_ONLY}"""


@dataclass
class Arguments:
    dataset: Positional = option("folder written by `cgdmer prepare`")
    text: Annotated[str | None, Marker.POSITIONAL] = option(
        'e.g. "atrial fibrillation with fast ventricular response"', None
    )
    record: str | None = option("instead of TEXT: the id of a record in the dataset, or a file", None)
    top: int = option("how many", 10)
    model: str | None = model_option()
    splits: list[str] | None = option("search in these (default: in all)", None)
    cache_dir: str | None = option("keeps embeddings (default: DATASET.embeddings)", None)


def run(arguments: Arguments, say: Callable[..., None]) -> dict[str, Any]:
    from cgdmer.inference.search import search_dataset

    found = search_dataset(
        arguments.dataset,
        arguments.text,
        record=arguments.record,
        splits=arguments.splits,
        model=arguments.model,
        top=arguments.top,
        cache_dir=arguments.cache_dir,
    )
    for row in found:
        who = row["record_id"] if arguments.record is None else f"{row['records']} records"
        say(f"{row['cosine']:6.3f}  {who}  {' '.join((row['text'] or '(no report)').split())}")
    say(RESEARCH_USE_ONLY)
    return {"found": found, "note": RESEARCH_USE_ONLY}
