# SPDX-License-Identifier: Apache-2.0
"""The command line `cgdmer`: one module per command.

A command is a module with a one-line docstring (its help), `DESCRIPTION`, a dataclass `Arguments`, and
`run(arguments, say)`, which prints lines for a person with `say` and returns the answer, for JSON. Its `note`, if
there is one, is printed last. Slow imports belong in `run`.
"""

import argparse
import json
import sys
from collections.abc import Sequence

from cgdmer.about import RESEARCH_USE_ONLY
from cgdmer.commands import (
    app,
    classify,
    compare,
    demo,
    evaluate,
    explain,
    export,
    finetune,
    plot,
    prepare,
    push,
    score,
    search,
)
from cgdmer.models.errors import CGDMERError
from cgdmer.options import add_options, options_from

COMMANDS = (demo, prepare, finetune, evaluate, push, compare, classify, explain, app, score, search, plot, export)

EXAMPLES = """\
examples:
  cgdmer demo --output_dir demo
  cgdmer prepare ptb-xl RAW_DIR ptbxl
  cgdmer evaluate MODEL --dataset ptbxl --tasks ptbxl-super
  cgdmer classify RECORD --labels "atrial fibrillation" "normal ECG"
  cgdmer explain RECORD --label "atrial fibrillation" --plot relevance.png
  cgdmer score FOLDER scores.parquet --labels "atrial fibrillation" "normal ECG"
  cgdmer search ptbxl "atrial fibrillation with fast ventricular response"
  cgdmer plot RECORD ecg.png
  cgdmer export MODEL model.onnx --labels "atrial fibrillation" "normal ECG"
  cgdmer app
pretraining is started with accelerate:
  accelerate launch -m cgdmer.pretrain --config_name cgdmer-tiny --dataset ptbxl --output_dir run
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cgdmer",
        description=f"ECG foundation models: pretrain, evaluate, classify. {RESEARCH_USE_ONLY}",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in COMMANDS:
        subparser = subparsers.add_parser(
            module.__name__.rpartition(".")[2],
            help=module.__doc__,
            description=module.DESCRIPTION,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        subparser.set_defaults(module=module)
        add_options(subparser, module.Arguments)
        subparser.add_argument("--json", action="store_true", help="print the answer as JSON")
    return parser


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; returns 0, or 1 after an error, whose message goes to stderr."""
    parsed = build_parser().parse_args(words)

    def say(*lines: str, end: str = "\n") -> None:
        if not parsed.json:
            print(*lines, end=end, flush=True)

    try:
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
