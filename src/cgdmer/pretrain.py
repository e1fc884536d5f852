# SPDX-License-Identifier: Apache-2.0
"""Pretrain CG-DMER on a prepared dataset of ECGs and reports.

    accelerate launch -m cgdmer.pretrain --config_name hub_configs/cgdmer-base \
        --dataset DATASET --output_dir RUN --text_model_name_or_path ncbi/MedCPT-Query-Encoder
    python -m cgdmer.pretrain --config_name cgdmer-tiny --dataset DATASET --output_dir RUN

`accelerate config` decides on processes, devices and precision.
"""

import argparse

from cgdmer.training.arguments import parse_arguments
from cgdmer.training.loop import pretrain


def main(arguments: list[str] | None = None) -> dict:
    options: argparse.Namespace = parse_arguments(arguments, description=__doc__)
    return pretrain(options)


if __name__ == "__main__":
    main()
