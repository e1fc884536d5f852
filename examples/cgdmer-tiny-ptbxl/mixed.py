# SPDX-License-Identifier: Apache-2.0
"""Mix real and simulated records, so that what only the simulated ones teach is not forgotten.

    python mixed.py REAL SIMULATED OUTPUT_DIR

There are two real records for each simulated one. Each simulated record comes once. The real ones are repeated to
match, so an epoch passes over them several times. Both state findings by the same names (`--wordings`). The validation
split is that of the real records.
"""

import shutil
import sys
from pathlib import Path

import datasets

from cgdmer.data.storage import load_dataset_folder

REAL_FOR_EACH_SIMULATED = 2


def main(real: str, simulated: str, output_dir: str) -> None:
    rows, hearts = load_dataset_folder(real), load_dataset_folder(simulated)["train"]
    passes = max(1, round(REAL_FOR_EACH_SIMULATED * len(hearts) / len(rows["train"])))
    train = datasets.concatenate_datasets([*[rows["train"]] * passes, hearts], info=rows["train"].info)
    datasets.DatasetDict({"train": train, "validation": rows["validation"]}).save_to_disk(output_dir)
    shutil.copy(Path(real) / "summary.json", output_dir)
    print(f"{output_dir}: {passes} passes over {len(rows['train'])} real records, {len(hearts)} simulated ones")


if __name__ == "__main__":
    main(*sys.argv[1:])
