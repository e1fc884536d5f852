# SPDX-License-Identifier: Apache-2.0
"""The command line `cgdmer`: one module per command.

A command is a module with a one-line docstring (its help), `DESCRIPTION`, a dataclass `Arguments`, and
`run(arguments, say)`, which prints lines for a person with `say` and returns the answer, for JSON. Its `note`, if
there is one, is printed last. Slow imports belong in `run`.
"""

import argparse
import contextlib
import json
import shlex
import sys
import warnings
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

from cgdmer.about import RESEARCH_USE_ONLY, __version__
from cgdmer.commands import (
    app,
    calibrate,
    classify,
    compare,
    convert,
    demo,
    evaluate,
    explain,
    export,
    finetune,
    plot,
    prepare,
    push,
    report,
    score,
    search,
)
from cgdmer.models.errors import CGDMERError, ECGInputWarning
from cgdmer.options import add_options, did_you_mean, option_names, options_from, refuse_unknown_options
from cgdmer.threads import threads_wait_briefly

COMMANDS = (
    demo,
    prepare,
    finetune,
    evaluate,
    push,
    compare,
    classify,
    report,
    explain,
    app,
    score,
    search,
    plot,
    export,
    convert,
    calibrate,
)

EXAMPLES = """\
examples:
  cgdmer demo --output_dir demo
  cgdmer prepare ptb-xl RAW_DIR ptbxl
  cgdmer prepare folder RECORDINGS mine --table labels.csv
  cgdmer evaluate MODEL --dataset ptbxl --tasks ptbxl-super
  cgdmer classify RECORD --labels "atrial fibrillation" "normal ECG"
  cgdmer report RECORD --plot reading.pdf
  cgdmer explain RECORD --label "atrial fibrillation" --plot relevance.png
  cgdmer score FOLDER scores.parquet --labels "atrial fibrillation" "normal ECG"
  cgdmer search ptbxl "atrial fibrillation with fast ventricular response"
  cgdmer plot RECORD ecg.png
  cgdmer export MODEL model.onnx --labels "atrial fibrillation" "normal ECG"
  cgdmer convert ecgfounder-12lead 12_lead_ECGFounder.pth ecgfounder
  cgdmer calibrate MODEL CALIBRATED --dataset mine
  cgdmer app
pretraining is started with accelerate:
  accelerate launch -m cgdmer.pretrain --config_name cgdmer-tiny --dataset ptbxl --output_dir run
"""

# `cgdmer pretrain`, with the user's own options if there are any.
PRETRAINING = """\
Pretraining is started with accelerate, in as many processes as there are devices:

  accelerate launch -m cgdmer.pretrain {options}

In one process, without accelerate's configuration:

  python -m cgdmer.pretrain {options}

`python -m cgdmer.pretrain --help` lists the options."""
_PRETRAINING_OPTIONS = "--config_name cgdmer-tiny --dataset DATASET --output_dir RUN"


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cgdmer",
        description=f"ECG foundation models: pretrain, evaluate, classify. {RESEARCH_USE_ONLY}",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"cgdmer {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in COMMANDS:
        subparser = subparsers.add_parser(
            _name(module),
            help=module.__doc__,
            description=module.DESCRIPTION,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        subparser.set_defaults(module=module)
        add_options(subparser, module.Arguments)
        subparser.add_argument("--json", action="store_true", help="print the answer as JSON")
    return parser


def _name(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


def _refuse_wrong_words(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """End the program at a command or an option that does not exist; the message names the one that is closest."""
    place = next((place for place, word in enumerate(words) if not word.startswith("-")), len(words))
    refuse_unknown_options(parser, words[:place], ["--help", "--version"])
    if place == len(words):
        return
    modules = {_name(module): module for module in COMMANDS}
    if words[place] not in modules:
        hint = did_you_mean(words[place], [*modules, "pretrain"])
        parser.error(f"there is no command {words[place]!r}{hint} Commands: {', '.join(modules)}.")
    known = ["--help", "--json", *option_names(modules[words[place]].Arguments)]
    refuse_unknown_options(parser, words[place + 1 :], known)


def _how_to_pretrain(words: Sequence[str]) -> int:
    """Print what to type instead of `cgdmer pretrain`; returns 2, or 0 if only help was asked for."""
    asks_for_help = "-h" in words or "--help" in words
    options = shlex.join(words) if words and not asks_for_help else _PRETRAINING_OPTIONS
    print(PRETRAINING.format(options=options), file=sys.stdout if asks_for_help else sys.stderr)
    return 0 if asks_for_help else 2


@contextlib.contextmanager
def _warnings_in_words() -> Iterator[None]:
    """Warnings about recordings are printed without the line of code that Python adds."""
    usual = warnings.formatwarning

    def in_words(message: Warning | str, category: type[Warning], *place: Any, **named: Any) -> str:
        if issubclass(category, ECGInputWarning):
            return f"cgdmer: {message}\n"
        return usual(message, category, *place, **named)

    warnings.formatwarning = in_words
    try:
        yield
    finally:
        warnings.formatwarning = usual


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; returns 0, or 1 after an error, whose message goes to stderr."""
    words = list(sys.argv[1:] if words is None else words)
    if words[:1] == ["pretrain"]:
        return _how_to_pretrain(words[1:])
    threads_wait_briefly()
    parser = build_parser()
    _refuse_wrong_words(parser, words)
    parsed = parser.parse_args(words)

    def say(*lines: str, end: str = "\n") -> None:
        if not parsed.json:
            print(*lines, end=end, flush=True)

    try:
        # With --json, standard output is the answer and nothing else, whatever is printed on the way.
        printed = contextlib.redirect_stdout(sys.stderr) if parsed.json else contextlib.nullcontext()
        with printed, _warnings_in_words():
            answer = parsed.module.run(options_from(parsed.module.Arguments, parsed), say)
        if note := answer.get("note"):
            say(note)
    except (CGDMERError, OSError) as error:
        print(f"cgdmer {parsed.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stopped:
        print(f"cgdmer {parsed.command}: stopped. {stopped}".rstrip(), file=sys.stderr)
        return 130
    if parsed.json:
        print(json.dumps(answer, indent=2))
    return 0
