# SPDX-License-Identifier: Apache-2.0
r"""Pretrain a model of any family on a prepared dataset of ECGs with reports, or of ECGs alone.

    accelerate launch -m cgdmer.pretrain --config_name hub_configs/cgdmer-base \
        --dataset DATASET --output_dir RUN --text_model ncbi/MedCPT-Query-Encoder
    python -m cgdmer.pretrain --config_name cgdmer-tiny --dataset DATASET --output_dir RUN
    python -m cgdmer.pretrain --config_name coreecg-tiny --dataset DATASET --output_dir RUN

`accelerate config` sets processes, devices, and precision. On SIGTERM or Ctrl-C the run saves a checkpoint at the end
of the step (with several processes, at the next multiple of --logging_steps) and exits with code 143 or 130. The same
command with `--resume_from_checkpoint latest` continues from there, or starts over if there is no checkpoint.
"""

import argparse
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

from cgdmer.about import __version__
from cgdmer.models.errors import CGDMERError
from cgdmer.options import add_options, option_names, options_from, refuse_unknown_options
from cgdmer.presets import preset_in_words, presets
from cgdmer.threads import threads_wait_briefly
from cgdmer.training.arguments import PretrainingArguments


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cgdmer.pretrain",
        description=__doc__,
        epilog=_presets_in_words(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"cgdmer {__version__}")
    add_options(parser, PretrainingArguments)
    return parser


def parse_arguments(words: Sequence[str] | None = None) -> PretrainingArguments:
    """Parse a command line.

    Raises:
        ConfigurationError: a value is out of range, or two options contradict each other.
    """
    words = list(sys.argv[1:] if words is None else words)
    parser = build_parser()
    refuse_unknown_options(parser, words, ["--help", "--version", *option_names(PretrainingArguments)])
    return options_from(PretrainingArguments, parser.parse_args(words))


def _presets_in_words() -> str:
    lines = ["presets, and what each decides:"]
    found = presets()
    width = max(map(len, found)) + 2
    for name, folder in found.items():
        first, others = f"  {name:<{width}}", " " * (width + 2)
        # A name that is broken at a hyphen could not be copied.
        lines += textwrap.wrap(
            preset_in_words(folder), 110, initial_indent=first, subsequent_indent=others, break_on_hyphens=False
        )
    return "\n".join(lines)


def main(words: Sequence[str] | None = None) -> dict[str, Any]:
    arguments = parse_arguments(words)
    threads_wait_briefly()
    from cgdmer.training.loop import pretrain_model

    try:
        return pretrain_model(arguments)
    except KeyboardInterrupt as stopped:
        print(f"cgdmer.pretrain: stopped. {stopped}".rstrip(), file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    try:
        main()
    except (CGDMERError, OSError) as error:
        sys.exit(f"cgdmer.pretrain: {error}")
