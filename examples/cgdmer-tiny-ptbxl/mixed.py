# SPDX-License-Identifier: Apache-2.0
"""Real and simulated records side by side, so that what only the simulated ones teach is not forgotten.

    python mixed.py REAL SIMULATED OUTPUT_DIR

Two real records for each simulated one, each of which comes once; the real ones are repeated until the simulated ones
have run out, so an epoch passes several times over them. Both state findings by the same names (`--wordings`). Of an
old infarction the simulated report says no wall, but the heart has one: here it is told. The validation split is that
of the real records.
"""

import shutil
import sys
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from simulated import SEED

from cgdmer.data.simulated_ventricles import infarct_wall
from cgdmer.data.simulated_waveforms import draw_anatomy
from cgdmer.data.storage import load_dataset_folder

REAL_FOR_EACH_SIMULATED = 2
WALLS = {"anterior": "AMI", "inferior": "IMI"}


def main(real: str, simulated: str, output_dir: str) -> None:
    rows, hearts = load_dataset_folder(real), load_dataset_folder(simulated)["train"].map(tell_the_wall)
    passes = max(1, round(REAL_FOR_EACH_SIMULATED * len(hearts) / len(rows["train"])))
    train = datasets.concatenate_datasets([*[rows["train"]] * passes, hearts], info=rows["train"].info)
    datasets.DatasetDict({"train": train, "validation": rows["validation"]}).save_to_disk(output_dir)
    shutil.copy(Path(real) / "summary.json", output_dir)
    print(f"{output_dir}: {passes} passes over {len(rows['train'])} real records, {len(hearts)} simulated ones")


def tell_the_wall(row: dict[str, Any]) -> dict[str, Any]:
    """The code of an old infarction's wall instead of its label; the heart is drawn again as it was."""
    if "old_infarction" not in row["labels"]:
        return row
    draws = np.random.default_rng((SEED, int(row["patient_id"].split("-")[1])))
    sex = "female" if draws.random() < 0.5 else "male"
    if sex != row["sex"]:
        raise ValueError(f"{row['record_id']} was not simulated with seed {SEED}. Run simulated.py anew.")
    code = WALLS[infarct_wall(row["labels"], draw_anatomy(draws, sex))]
    return {**row, "labels": [code if label == "old_infarction" else label for label in row["labels"]]}


if __name__ == "__main__":
    main(*sys.argv[1:])
