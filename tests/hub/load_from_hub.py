# SPDX-License-Identifier: Apache-2.0
"""Loads a model from the Hub without `cgdmer` installed; run by test_push_and_load.py.

    python load_from_hub.py REPOSITORY INPUTS OUTPUTS REVISION ...

INPUTS is a torch file with a recording and prompts. OUTPUTS receives the outputs of the processor and the models, by
revision.
"""

import importlib.util
import sys

import torch
from transformers import AutoModel, AutoModelForZeroShotImageClassification, AutoProcessor, pipeline


@torch.no_grad()
def outputs_of(repository: str, revision: str, given: dict) -> dict:
    options = {"revision": revision, "trust_remote_code": True}
    processor = AutoProcessor.from_pretrained(repository, **options)
    batch = processor(**given["recording"], text=given["prompts"], return_tensors="pt")
    model = AutoModel.from_pretrained(repository, **options).eval()
    scorer = AutoModelForZeroShotImageClassification.from_pretrained(repository, **options).eval()
    classify = pipeline("zero-shot-ecg-classification", model=repository, **options)
    assert type(model).__module__.startswith("transformers_modules.")
    recording = dict(given["recording"])
    return {
        "batch": dict(batch),
        "logits": model(**batch).logits_per_ecg,
        "scores": scorer(**batch).scores,
        "pipeline": classify(recording.pop("ecg"), candidate_labels=given["prompts"], **recording),
    }


def main(repository: str, inputs: str, outputs: str, *revisions: str) -> None:
    assert importlib.util.find_spec("cgdmer") is None
    given = torch.load(inputs, weights_only=False)
    results = {revision: outputs_of(repository, revision, given) for revision in revisions}
    torch.save(results, outputs)


if __name__ == "__main__":
    main(*sys.argv[1:])
