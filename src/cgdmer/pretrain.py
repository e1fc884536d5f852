# SPDX-License-Identifier: Apache-2.0
"""Pretrain a model of any family on a prepared dataset: of ECGs and reports, or of ECGs alone.

    accelerate launch -m cgdmer.pretrain --config_name hub_configs/cgdmer-base \
        --dataset DATASET --output_dir RUN --text_model_name_or_path ncbi/MedCPT-Query-Encoder
    python -m cgdmer.pretrain --config_name cgdmer-tiny --dataset DATASET --output_dir RUN
    python -m cgdmer.pretrain --config_name coreecg-tiny --dataset DATASET --output_dir RUN

`accelerate config` decides on processes, devices and precision. SIGTERM and Ctrl-C save a checkpoint at the end of a
step (of several processes: at the next of --logging_steps) and end with code 143 or 130; the same command with
`--resume_from_checkpoint latest` goes on from there, and starts anew where there is nothing to go on from.
"""

import argparse
import sys

from cgdmer.training.arguments import parse_arguments
from cgdmer.training.loop import pretrain


def main(arguments: list[str] | None = None) -> dict:
    options: argparse.Namespace = parse_arguments(arguments, description=__doc__)
    try:
        return pretrain(options)
    except KeyboardInterrupt as stopped:
        print(f"cgdmer.pretrain: stopped. {stopped}".rstrip(), file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
