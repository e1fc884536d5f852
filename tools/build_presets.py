# SPDX-License-Identifier: Apache-2.0
"""Write hub_configs/: one folder per preset, a real Hub folder without weights.

    python tools/build_presets.py

The presets are defined in tools/presets/, one file per family. The existing tokenizer is kept. If
hub_configs/cgdmer-tiny has none, a new one is trained, and weights trained with the old one no longer fit.
"""

import json
import shutil
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import presets
from report_tokenizer import report_tokenizer
from transformers import PreTrainedConfig, PreTrainedTokenizerFast

from cgdmer import ECGFeatureExtractor, ECGProcessor
from cgdmer.families import ecg_config_of

HUB_CONFIGS = Path(__file__).resolve().parent.parent / "hub_configs"


def write_preset(name: str, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerFast | None) -> None:
    folder, ecg_config = HUB_CONFIGS / name, ecg_config_of(config)
    shutil.rmtree(folder, ignore_errors=True)
    config.save_pretrained(folder)
    extractor = ECGFeatureExtractor(
        sampling_rate=ecg_config.sampling_rate,
        num_samples=ecg_config.num_samples,
        patch_length=ecg_config.patch_length,
        normalization="centered",  # recordings have offsets of millivolts, which would dominate the scores
    )
    if tokenizer is not None:
        ECGProcessor(extractor, tokenizer).save_pretrained(folder)
    else:
        extractor.save_pretrained(folder)
    # A preset has no weights, so it does not need the code that loads them without this package.
    for path in folder.glob("*.py"):
        path.unlink()
    for path in folder.glob("*_config.json"):
        entries = json.loads(path.read_text())
        for part in (entries, entries.get("feature_extractor", {})):
            part.pop("auto_map", None)
        path.write_text(json.dumps(entries, indent=2, sort_keys=True) + "\n")


def main() -> None:
    tokenizer = report_tokenizer(HUB_CONFIGS / "cgdmer-tiny" / "tokenizer.json")
    for family in iter_modules(presets.__path__):
        for preset in import_module(f"presets.{family.name}").presets(tokenizer):
            write_preset(*preset)
    for folder in sorted(HUB_CONFIGS.iterdir()):
        print(folder.name, json.dumps(sorted(path.name for path in folder.iterdir())))


if __name__ == "__main__":
    main()
