# SPDX-License-Identifier: Apache-2.0
"""Write what a model's training recordings look like to it, for models that were trained before training wrote it.

    python tools/familiarity.py MODEL_FOLDER DATASET

The split `train` of the prepared dataset has to be what the model was trained on, but for 5% of its rows: a simulator
may have changed since. For cgdmer-tiny-ptbxl it is `final-mixed` of examples/cgdmer-tiny-ptbxl/recipe.sh.
"""

import argparse

from cgdmer.data.fingerprints import Fingerprints
from cgdmer.data.storage import load_dataset_folder
from cgdmer.families import extractor_of, load_model, load_processor
from cgdmer.inference import familiarity


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("dataset")
    options = parser.parse_args()
    model = load_model(options.model)
    training = load_dataset_folder(options.dataset)["train"]
    trained_on = Fingerprints.of_model(options.model)
    overlap = None if trained_on is None else trained_on.overlap(training)
    if overlap is None or overlap["records"] < 0.95 * len(training):
        raise SystemExit(f"{options.model} was not trained on the training split of {options.dataset}.")
    found = familiarity.after_training(model, extractor_of(load_processor(options.model, model)), training)
    if found is None:
        raise SystemExit("There are too few recordings.")
    found.save(options.model)


if __name__ == "__main__":
    main()
