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
from collections.abc import Sequence
from typing import Any

from cgdmer.options import add_options, options_from
from cgdmer.training.arguments import PretrainingArguments


def parse_arguments(words: Sequence[str] | None = None) -> PretrainingArguments:
    """Parse a command line.

    Raises:
        ConfigurationError: a value is out of range, or two options contradict each other.
    """
    parser = argparse.ArgumentParser(
        prog="cgdmer.pretrain", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser, PretrainingArguments)
    return options_from(PretrainingArguments, parser.parse_args(words))


def main(words: Sequence[str] | None = None) -> dict[str, Any]:
    arguments = parse_arguments(words)
    from cgdmer.training.loop import pretrain_model

    try:
        return pretrain_model(arguments)
    except KeyboardInterrupt as stopped:
        print(f"cgdmer.pretrain: stopped. {stopped}".rstrip(), file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
