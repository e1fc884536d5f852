# SPDX-License-Identifier: Apache-2.0
"""Write a dataset of simulated patients for the first stage: clear rhythms and conduction, as many as you like.

python simulated.py OUTPUT_DIR NUM_PATIENTS
"""

import sys

from cgdmer.data.storage import split_of_fold
from cgdmer.data.writing import write_dataset
from cgdmer.simulation.cohort import simulate_cohort

SEED = 7  # differs from `cgdmer demo`, which measures on its own patients


def main(output_dir: str, num_patients: str) -> None:
    cohort = simulate_cohort(int(num_patients), seed=SEED, sampling_rate=100, further=True)
    write_dataset(
        cohort, output_dir, splits=split_of_fold, description="Simulated patients; no recording of a person."
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
