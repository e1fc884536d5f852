# SPDX-License-Identifier: Apache-2.0
"""Split prepared PTB-XL (`cgdmer prepare ptb-xl`) by its folds: once to choose settings, once for the final training.

    python folds.py PTBXL tuning final

`tuning` trains on folds 1-7 and validates on fold 8; it has no test split. `final` trains on folds 1-8. Its validation
split is fold 8 too, so it only shows that training makes progress. Folds 9 and 10 stay in PTBXL.
"""

import shutil
import sys
from pathlib import Path

import datasets

from cgdmer.data.storage import load_dataset_folder


def main(prepared: str, tuning: str, final: str) -> None:
    splits = load_dataset_folder(prepared)
    rows = datasets.concatenate_datasets(list(splits.values()), info=splits["train"].info)

    def of_folds(first: int, last: int) -> datasets.Dataset:
        return rows.select([row for row, fold in enumerate(rows["fold"]) if first <= fold <= last])

    for folder, last in ((tuning, 7), (final, 8)):
        chosen = {"train": of_folds(1, last), "validation": of_folds(8, 8)}
        datasets.DatasetDict(chosen).save_to_disk(folder)
        shutil.copy(Path(prepared) / "summary.json", folder)
        print(f"{folder}: " + ", ".join(f"{len(split)} {name}" for name, split in chosen.items()))


if __name__ == "__main__":
    main(*sys.argv[1:])
