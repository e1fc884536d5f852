# SPDX-License-Identifier: Apache-2.0
"""Loads a model from the Hub where `cgdmer` cannot be imported; run by the tests beside it.

    python load_from_hub.py REPOSITORY INPUTS OUTPUTS REVISION ...

INPUTS is a file of torch: a recording and prompts; OUTPUTS gets, by revision, what the processor and the models make
of them.
"""

import sys

import torch


class NoPackage:
    """Forbids the import of the package, however it is installed."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] == "cgdmer":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, NoPackage())

from transformers import (  # noqa: E402
    AutoModel,
    AutoModelForZeroShotImageClassification,
    AutoProcessor,
    pipeline,
)


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
    given = torch.load(inputs, weights_only=False)
    results = {revision: outputs_of(repository, revision, given) for revision in revisions}
    assert not [name for name in sys.modules if name.partition(".")[0] == "cgdmer"]
    torch.save(results, outputs)


if __name__ == "__main__":
    main(*sys.argv[1:])
