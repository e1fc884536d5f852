# SPDX-License-Identifier: Apache-2.0
"""Make the table for `cgdmer prepare folder` from the headers of a PhysioNet Challenge set such as Georgia.

    python examples/comparison/challenge_table.py GEORGIA georgia.csv
    cgdmer prepare folder GEORGIA georgia --table georgia.csv

The labels are the diagnoses in the headers (`#Dx`, SNOMED CT codes). All records go to the test split.
"""

import csv
import sys
from pathlib import Path


def main(folder: str, table: str) -> None:
    with Path(table).open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("record", "labels", "split"))
        for header in sorted(Path(folder).rglob("*.hea")):
            name = header.relative_to(folder).with_suffix("")
            lines = header.read_text(encoding="utf-8").splitlines()
            diagnoses = ",".join(line.partition("Dx:")[2] for line in lines if line.startswith(("#Dx:", "# Dx:")))
            codes = [code.strip() for code in diagnoses.split(",")]
            writer.writerow((name.as_posix(), ";".join(code for code in codes if code), "test"))


if __name__ == "__main__":
    main(*sys.argv[1:])
