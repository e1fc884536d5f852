# SPDX-License-Identifier: Apache-2.0
"""Convert a checkpoint that others released."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from cgdmer.about import RESEARCH_USE_ONLY
from cgdmer.commands._arguments import Positional
from cgdmer.options import Marker, option

DESCRIPTION = f"""\
Turns a downloaded checkpoint of another group into a model folder that everything here works on: weights,
configuration, preprocessing, and a card with its source and license. Nothing in the file is run.
{RESEARCH_USE_ONLY}"""


@dataclass
class Arguments:
    kind: Positional = option("which model it is; an unknown name lists all")
    file: Annotated[str, Marker.POSITIONAL] = option(
        "the checkpoint as it was published, or the Hub id of its repository", metavar="FILE"
    )
    output_dir: Annotated[str, Marker.POSITIONAL] = option("a new folder", metavar="OUT_DIR")
    tokenizer: str | None = option(
        "folder or Hub id of the tokenizer, for a model that takes texts (default: the one it was trained with, from "
        "the Hub)",
        None,
    )
    for_finetuning: bool = option("preprocess as the authors do when they finetune, if that differs", False)


def run(arguments: Arguments, say: Callable[..., None]) -> dict[str, Any]:
    from cgdmer.conversion.converting import convert
    from cgdmer.conversion.register import kind_named

    model = convert(
        arguments.kind, arguments.file, arguments.output_dir, arguments.tokenizer, arguments.for_finetuning
    )
    source, count = kind_named(arguments.kind).source, sum(one.numel() for one in model.parameters())
    say(f"{arguments.output_dir}: {source.name}, {count:,} weights, as a {type(model).__name__}")
    say(f"License: {source.license_note}")
    say(f"Pretrained on: {source.corpora}")
    answer = {"output_dir": arguments.output_dir, "model": type(model).__name__, "weights": count}
    return {**answer, "license": source.license, "seen_corpora": list(source.seen), "note": RESEARCH_USE_ONLY}
