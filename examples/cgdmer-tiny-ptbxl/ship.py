# SPDX-License-Identifier: Apache-2.0
"""Turn a training run into the packaged model: half the size, no code, and scores calibrated on fold 8.

    python ship.py RUN TUNING_RUN OUTPUT_DIR

RUN was trained on folds 1-8, and TUNING_RUN with the same settings on folds 1-7. TUNING_RUN never saw fold 8, on which
its scores were calibrated, so RUN takes the two calibration values from it. Weights are stored in half precision and
loaded in single precision, because a model in half precision is slow on a CPU.
"""

import json
import shutil
import sys
from pathlib import Path

from transformers import AutoConfig, AutoProcessor

from cgdmer import CGDMERModel
from cgdmer.data.fingerprints import FILE_NAME

_NOT_SHIPPED = ("auto_map", "custom_pipelines", "_name_or_path")


def main(run: str, tuning_run: str, output_dir: str) -> None:
    folder = Path(output_dir)
    model = CGDMERModel.from_pretrained(run)
    calibrated = AutoConfig.from_pretrained(tuning_run)
    model.config.score_scale, model.config.score_bias = calibrated.score_scale, calibrated.score_bias
    model.half().save_pretrained(folder)
    processor = AutoProcessor.from_pretrained(run)
    processor.save_pretrained(folder)
    for code in folder.glob("*.py"):
        code.unlink()
    for name in ("config.json", "processor_config.json", "tokenizer_config.json"):
        document = json.loads((folder / name).read_text())
        document = {key: value for key, value in document.items() if key not in _NOT_SHIPPED}
        if name == "config.json":
            document["dtype"] = "float32"
        (folder / name).write_text(json.dumps(document, indent=2) + "\n")
    shutil.copy(Path(run) / FILE_NAME, folder)
    print(f"{folder}: {sum(file.stat().st_size for file in folder.iterdir()) / 1e6:.1f} MB")


if __name__ == "__main__":
    main(*sys.argv[1:])
