# SPDX-License-Identifier: Apache-2.0
"""`cgdmer push`: publish a model on the Hugging Face Hub."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cgdmer.commands._arguments import Positional
from cgdmer.options import option

HELP = "publish a model on the Hugging Face Hub"
DESCRIPTION = """\
Uploads as one commit the weights, configuration, processor, tokenizer, the code that loads them without
this package, and a model card with the results. The folder is loaded before anything is sent.
Log in first with `hf auth login`, or set HF_TOKEN to a token that may write."""


@dataclass
class Arguments:
    model: Positional = option("a model's folder")
    repository: Positional = option("org/name on the Hub; made if it is not there")
    results: list[str] = option("folders that `cgdmer evaluate --output_dir` wrote", [], metavar="DIR")
    benchmark: str | None = option(
        "a benchmark dataset on the Hub that lists the tasks of the results", None, metavar="ORG/DATASET"
    )
    license: str | None = option("of the weights, e.g. cc-by-4.0 (default: the card says that it is not stated)", None)
    private: bool = option("make the repository private, if it is made", False)
    revision: str | None = option("push to this branch (default: main)", None, metavar="BRANCH")
    commit_message: str = option("the first line of the commit", "Upload model")


def run(arguments: Arguments, say: Callable[..., None]) -> dict[str, Any]:
    from cgdmer.hub.publishing import push

    pushed = push(
        arguments.model,
        arguments.repository,
        results=arguments.results,
        benchmark=arguments.benchmark,
        license=arguments.license,
        private=arguments.private,
        revision=arguments.revision,
        commit_message=arguments.commit_message,
    )
    say("{repository}: {count} files, commit {commit}".format(**pushed, count=len(pushed["files"])))
    return pushed
