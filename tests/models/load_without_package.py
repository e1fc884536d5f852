# SPDX-License-Identifier: Apache-2.0
"""Loads saved model folders where `cgdmer` cannot be imported; run by test_hub_folder.py.

    python load_without_package.py FOLDER

FOLDER holds one folder a model and inputs.pt; the outputs go to FOLDER/outputs.pt.
"""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from no_package import forbid_the_package

forbid_the_package()

from transformers import (  # noqa: E402
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForPreTraining,
    AutoModelForZeroShotImageClassification,
    AutoProcessor,
    pipeline,
)

JOINT = ("CGDMERForZeroShot", "CGDMERForPreTraining", "CGDMERModel")
ECG = ("CGDMERECGModel", "CGDMERForECGClassification")
OTHER_ENCODERS = ("ECGViTModel", "ECGResNetModel")


def refuses_without_flag(folder: Path) -> bool:
    try:
        AutoModel.from_pretrained(folder, trust_remote_code=False)
    except ValueError as error:
        return "trust_remote_code" in str(error)
    return False


@torch.no_grad()
def outputs_of(folder: Path, inputs: dict) -> dict:
    """What each model folder gives for the inputs, by the Auto class that serves it."""
    outputs = {}
    signal = {name: inputs[name] for name in ("ecg_values", "lead_mask", "patch_mask")}
    texts = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    pretraining = {name: inputs[name] for name in ("noise", "text_noise", "special_tokens_mask")}
    for name in JOINT:
        place = folder / name
        model = AutoModel.from_pretrained(place, trust_remote_code=True).eval()
        outputs[name, "AutoModel"] = model(**signal, **texts).logits_per_ecg
        model = AutoModelForZeroShotImageClassification.from_pretrained(place, trust_remote_code=True).eval()
        outputs[name, "zero-shot"] = model(**signal, **texts).scores
        processor = AutoProcessor.from_pretrained(place, trust_remote_code=True)
        batch = processor(**inputs["recording"], text=inputs["prompts"], return_tensors="pt")
        outputs[name, "processor"] = dict(batch)
        classify = pipeline("zero-shot-ecg-classification", model=str(place), trust_remote_code=True)
        array = inputs["recording"]["ecg"]
        arguments = {key: value for key, value in inputs["recording"].items() if key != "ecg"}
        outputs[name, "pipeline"] = classify(array, candidate_labels=inputs["prompts"], **arguments)
    for name in (*JOINT, *ECG, *OTHER_ENCODERS):
        embed = pipeline("ecg-embedding", model=str(folder / name), trust_remote_code=True)
        outputs[name, "embedding"] = embed(array, **arguments)
    for name in OTHER_ENCODERS:
        model = AutoModel.from_pretrained(folder / name, trust_remote_code=True).eval()
        outputs[name, "AutoModel"] = model(**signal).pooler_output
        model = AutoModel.from_pretrained(folder / f"CGDMERModel-{name}", trust_remote_code=True).eval()
        outputs[f"CGDMERModel-{name}", "AutoModel"] = model(**signal, **texts).logits_per_ecg
    place = folder / "CGDMERForPreTraining"
    model = AutoModelForPreTraining.from_pretrained(place, trust_remote_code=True).eval()
    outputs["CGDMERForPreTraining", "pretraining"] = model(**signal, **texts, **pretraining).loss
    for name in ECG:
        place = folder / name
        model = AutoModel.from_pretrained(place, trust_remote_code=True).eval()
        outputs[name, "AutoModel"] = model(**signal).pooler_output
        extractor = AutoFeatureExtractor.from_pretrained(place, trust_remote_code=True)
        outputs[name, "extractor"] = dict(extractor(**inputs["recording"], return_tensors="pt"))
    model = AutoModelForAudioClassification.from_pretrained(place, trust_remote_code=True).eval()
    outputs[name, "classification"] = model(**signal).logits
    classify = pipeline("ecg-classification", model=str(place), trust_remote_code=True)
    outputs[name, "pipeline"] = classify(array, **arguments)
    return outputs


def save_again(folder: Path, target: Path) -> None:
    """Load each folder as remote code and save it: model, and processor or feature extractor."""
    kinds = {
        "CGDMERForZeroShot": (AutoModelForZeroShotImageClassification, AutoProcessor),
        "CGDMERForPreTraining": (AutoModelForPreTraining, AutoProcessor),
        "CGDMERModel": (AutoModel, AutoProcessor),
        "CGDMERECGModel": (AutoModel, AutoFeatureExtractor),
        "CGDMERForECGClassification": (AutoModelForAudioClassification, AutoFeatureExtractor),
        "ECGViTModel": (AutoModel, AutoFeatureExtractor),
        "ECGResNetModel": (AutoModel, AutoFeatureExtractor),
        "CGDMERModel-ECGViTModel": (AutoModel, AutoProcessor),
        "CGDMERModel-ECGResNetModel": (AutoModel, AutoProcessor),
    }
    for name, (model_class, processor_class) in kinds.items():
        model_class.from_pretrained(folder / name, trust_remote_code=True).save_pretrained(target / name)
        processor_class.from_pretrained(folder / name, trust_remote_code=True).save_pretrained(target / name)


def main() -> None:
    folder = Path(sys.argv[1])
    try:
        import cgdmer  # noqa: F401
    except ModuleNotFoundError:
        pass
    else:
        raise AssertionError("cgdmer can be imported here: this process would prove nothing")
    inputs = torch.load(folder / "inputs.pt", weights_only=False)
    results = {"refused": refuses_without_flag(folder / "CGDMERModel")}
    save_again(folder, folder / "again")  # first, while only what saving itself brings along is there
    results["first"] = outputs_of(folder, inputs)
    results["again"] = outputs_of(folder / "again", inputs)
    config = AutoConfig.from_pretrained(folder / "CGDMERModel", trust_remote_code=True)
    results["config module"] = type(config).__module__
    results["imported"] = [name for name in sys.modules if name.partition(".")[0] == "cgdmer"]
    torch.save(results, folder / "outputs.pt")


if __name__ == "__main__":
    main()
