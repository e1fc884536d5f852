# SPDX-License-Identifier: Apache-2.0
"""Publish a model on the Hugging Face Hub."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cgdmer.commands._arguments import Positional
from cgdmer.options import option

DESCRIPTION = """\
Uploads the weights, configuration, processor, tokenizer, the code that loads them without this package, and
a model card with the results, in one commit. The folder is loaded before anything is sent. Everything else in it
stays where it is: `--dry_run` lists both, and needs no account. Log in first with `hf auth login`, or set HF_TOKEN to
a token with write permission."""


@dataclass
class Arguments:
    model: Positional = option("folder of the model")
    repository: Positional = option("org/name on the Hub; created if it does not exist")
    results: list[str] = option("folders that `cgdmer evaluate --output_dir` wrote", [], metavar="DIR")
    benchmark: str | None = option(
        "a benchmark dataset on the Hub that lists the tasks of the results", None, metavar="ORG/DATASET"
    )
    license: str | None = option("license of the weights, e.g. cc-by-4.0 (default: not stated)", None)
    private: bool = option("make the repository private when it is created", False)
    revision: str | None = option("branch to push to (default: main)", None, metavar="BRANCH")
    commit_message: str = option("first line of the commit message", "Upload model")
    dry_run: bool = option("send nothing: list every file with its size and what it says about people", False)


def run(arguments: Arguments, say: Callable[..., None]) -> dict[str, Any]:
    from cgdmer.hub.publishing import push

    options = dict(vars(arguments))
    pushed = push(options.pop("model"), options.pop("repository"), **options)
    if arguments.dry_run:
        size = sum(file["bytes"] for file in pushed["contents"])
        say(f"{arguments.repository}: {len(pushed['files'])} files, {size:,} bytes would be sent")
        for file in pushed["contents"]:
            say(f"{file['bytes']:>15,}  {file['path']}: {file['people']}")
        for name, reason in pushed["left_out"].items():
            say(f"{'stays here':>15}  {name}: {reason}")
    else:
        say("{repository}: {count} files, commit {commit}".format(**pushed, count=len(pushed["files"])))
        if pushed["left_out"]:
            say(f"Left out: {', '.join(pushed['left_out'])}")
    return pushed
