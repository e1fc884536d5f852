# SPDX-License-Identifier: Apache-2.0
"""Loads every family's folders where `cgdmer` cannot be imported, saves them again, loads those; for test_families.py.

    python families_without_package.py HOME

HOME/asked.pt names the folders and holds the inputs; the answers go to HOME/answered.pt.
"""

import sys
from pathlib import Path

import torch

from no_package import forbid_the_package

forbid_the_package()

from transformers import (  # noqa: E402
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForPreTraining,
    AutoModelForZeroShotImageClassification,
    AutoProcessor,
)


@torch.no_grad()
def answers(run: Path, classifier: Path, inputs: dict, labels: list[str]) -> dict:
    encoder = AutoModel.from_pretrained(run, trust_remote_code=True).eval().base_model
    classify = AutoModelForAudioClassification.from_pretrained(classifier, trust_remote_code=True).eval()
    AutoFeatureExtractor.from_pretrained(run, trust_remote_code=True)
    found = {
        "pooled": encoder(**inputs).pooler_output,
        "logits": classify(**inputs).logits,
        "pretraining": type(AutoModelForPreTraining.from_pretrained(run, trust_remote_code=True)).__name__,
    }
    if (run / "tokenizer.json").is_file():
        scorer = AutoModelForZeroShotImageClassification.from_pretrained(run, trust_remote_code=True).eval()
        texts = AutoProcessor.from_pretrained(run, trust_remote_code=True)(text=labels, return_tensors="pt")
        found["scores"] = scorer(**inputs, **texts).logits_per_ecg
    return found


def main() -> None:
    home = Path(sys.argv[1])
    asked = torch.load(home / "asked.pt", weights_only=False)
    found: dict = {"first": {}, "again": {}}
    for family, name in asked["runs"].items():
        run, classifier = Path(name), Path(f"{name}-finetuned")
        again = home / "again" / family
        # First, while only what loading itself brings along is there.
        for auto_class, source, target in (
            (AutoModelForPreTraining, run, again),
            (AutoModelForAudioClassification, classifier, Path(f"{again}-finetuned")),
        ):
            auto_class.from_pretrained(source, trust_remote_code=True).save_pretrained(target)
            AutoFeatureExtractor.from_pretrained(source, trust_remote_code=True).save_pretrained(target)
        if (run / "tokenizer.json").is_file():
            AutoProcessor.from_pretrained(run, trust_remote_code=True).save_pretrained(again)
        for saved_by, places in (("first", (run, classifier)), ("again", (again, Path(f"{again}-finetuned")))):
            for key, value in answers(*places, asked["inputs"], asked["labels"]).items():
                found[saved_by][family, key] = value
    assert not [name for name in sys.modules if name.partition(".")[0] == "cgdmer"]
    torch.save(found, home / "answered.pt")


if __name__ == "__main__":
    main()
