# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of transformers.Trainer, peft, and accelerate, and what other libraries write into a model's files."""

import json

import pytest
import torch
from accelerate import Accelerator
from tiny import tiny_config, tiny_ecg_config
from transformers import AutoConfig, AutoModel, AutoModelForAudioClassification, GenerationConfig, Trainer
from transformers import TrainingArguments as HFTrainingArguments

import cgdmer
from cgdmer import CGDMERForECGClassification, ECGFeatureExtractor, ECGProcessor
from cgdmer.models.errors import ConfigurationError
from cgdmer.presets import SHIPPED_MODEL
from small_families import FAMILIES, small_config

# What libraries write into config.json, and values as they write them.
WRITTEN = {
    "use_cache": False,
    "torch_dtype": "float32",
    "_attn_implementation": "sdpa",
    "_attn_implementation_autoset": True,
    "_name_or_path": "somewhere",
    "_commit_hash": None,
    "quantization_config": None,
    "id2label": {"0": "normal", "1": "abnormal"},
    "label2id": {"normal": 0, "abnormal": 1},
    "problem_type": "multi_label_classification",
    "task_specific_params": {"classification": {"max_length": 3}},
    "finetuning_task": "ecg",
    "pruned_heads": {},
    "torchscript": False,
    "tie_word_embeddings": True,
    "gradient_checkpointing": False,
    "is_decoder": False,
    "pad_token_id": 0,
    "decoder_start_token_id": 1,
    "adapters": {},
    "unsloth_version": "2026.1",
    "transformers.js_config": {"dtype": "fp32"},
    "sentence_transformers": {"version": "5.0"},
    **{
        "num_beams": 2,
        "max_length": 5,
        "do_sample": True,
        "top_k": 50,
        "repetition_penalty": 1.2,
        "max_new_tokens": 9,
    },
}


def records(labels) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [{"ecg_values": torch.randn(12, 1000, generator=generator), "labels": labels} for _ in range(8)]


def trained(model: torch.nn.Module, folder, labels) -> Trainer:
    arguments = HFTrainingArguments(
        str(folder),
        max_steps=2,
        per_device_train_batch_size=4,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        learning_rate=1e-2,
        save_steps=1,
    )
    trainer = Trainer(model, arguments, train_dataset=records(labels), eval_dataset=records(labels)[:4])
    trainer.train()
    assert 0 < trainer.evaluate()["eval_loss"] < 100
    return trainer


@pytest.mark.parametrize(
    ("problem_type", "labels"),
    [
        ("multi_label_classification", torch.tensor([1.0, 0.0])),
        ("single_label_classification", torch.tensor(1)),
        ("regression", torch.tensor([1.5, -2.0])),
    ],
)
def test_trainer_trains_a_classifier_whose_checkpoints_load(tmp_path, problem_type, labels):
    model = CGDMERForECGClassification.from_pretrained(SHIPPED_MODEL, num_labels=2, problem_type=problem_type)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trainer = trained(model, tmp_path / "run", labels)
    trainer.save_model(tmp_path / "saved")
    for folder in (tmp_path / "saved", tmp_path / "run" / "checkpoint-2"):
        for load in (CGDMERForECGClassification, AutoModelForAudioClassification):
            again = load.from_pretrained(folder)
            assert (type(again), again.config.problem_type) == (CGDMERForECGClassification, problem_type)
            for name, value in model.state_dict().items():
                torch.testing.assert_close(again.state_dict()[name], value, rtol=0, atol=0)
    moved = [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]
    assert len(moved) == len(before)
    trainer.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-1"))
    torch.testing.assert_close(trainer.model.state_dict(), again.state_dict())


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`")  # of peft, of transformers
def test_trainer_trains_an_adapter_of_peft(tmp_path):
    peft = pytest.importorskip("peft")
    base = CGDMERForECGClassification.from_pretrained(SHIPPED_MODEL, num_labels=2)
    lora = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], modules_to_save=["classifier"])
    model = peft.get_peft_model(base, lora)
    frozen = base.ecg_model.layers[0].feed_forward.fc1.weight.clone()
    trained(model, tmp_path / "run", torch.tensor([1.0, 0.0])).save_model(tmp_path / "adapter")
    assert torch.equal(base.ecg_model.layers[0].feed_forward.fc1.weight, frozen)
    ecg = records(torch.tensor(0))[0]["ecg_values"][None]
    with torch.no_grad():
        expected = model.eval()(ecg).logits
        fresh = CGDMERForECGClassification.from_pretrained(SHIPPED_MODEL, num_labels=2)
        again = peft.PeftModel.from_pretrained(fresh, tmp_path / "adapter").eval()
        torch.testing.assert_close(again(ecg).logits, expected)
        merged = again.merge_and_unload()
        merged.save_pretrained(tmp_path / "merged")
        whole = CGDMERForECGClassification.from_pretrained(tmp_path / "merged").eval()
        torch.testing.assert_close(whole(ecg).logits, expected)


def test_a_state_of_accelerate_is_taken_up_again(tmp_path):
    model = CGDMERForECGClassification(tiny_ecg_config(num_labels=2))
    accelerator = Accelerator(cpu=True)
    prepared = accelerator.prepare(model)
    wanted = {name: value.clone() for name, value in model.state_dict().items()}
    accelerator.save_state(tmp_path / "state")
    accelerator.save_model(prepared, tmp_path / "model")
    with torch.no_grad():
        model.classifier.weight.zero_()
    accelerator.load_state(tmp_path / "state")
    assert torch.equal(model.classifier.weight, wanted["classifier.weight"])
    model.config.save_pretrained(tmp_path / "model")
    again = CGDMERForECGClassification.from_pretrained(tmp_path / "model")
    assert all(torch.equal(value, wanted[name]) for name, value in again.state_dict().items())


@pytest.mark.parametrize("family", FAMILIES)
def test_keys_that_others_write_load_in_every_configuration(tmp_path, family):
    config = small_config(family)
    config.save_pretrained(tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    for place in (content, content.get("ecg_config", {}), content.get("text_config", {})):
        place.update(WRITTEN)
    (tmp_path / "config.json").write_text(json.dumps(content))
    again = AutoConfig.from_pretrained(tmp_path)
    assert type(again) is type(config)
    assert again.id2label == {0: "normal", 1: "abnormal"}
    for part in ("ecg_config", "text_config"):
        if hasattr(config, part):
            assert getattr(again, part).hidden_size == getattr(config, part).hidden_size
    AutoModel.from_config(again)
    again.save_pretrained(tmp_path / "again")
    assert AutoConfig.from_pretrained(tmp_path / "again").id2label == again.id2label


def test_each_key_that_others_write_loads_alone():
    options = dict.fromkeys(set(GenerationConfig().to_dict()) - {"temperature"}) | WRITTEN
    for key, value in options.items():
        tiny_ecg_config(**{key: value})
        tiny_config(**{key: value})


@pytest.mark.parametrize("key", ["hiden_size", "zzzz", "to_dict", "__class__", "_get_files_timestamps"])
def test_keys_that_nobody_writes_are_refused(key):
    """Among them names of methods, which the value would replace."""
    with pytest.raises(ConfigurationError, match=f"no option '{key}'"):
        tiny_ecg_config(**{key: 1})
    with pytest.raises(ConfigurationError, match=f"no option '{key}'"):
        ECGFeatureExtractor(**{key: 1})


def test_options_of_generate_are_saved_beside_the_model(tmp_path):
    model = cgdmer.CGDMERModel(tiny_config())
    model.config.use_cache = True
    model.generation_config = GenerationConfig(num_beams=3)
    model.save_pretrained(tmp_path)
    assert cgdmer.CGDMERModel.from_pretrained(tmp_path).config.projection_size == model.config.projection_size


def test_keys_that_others_write_into_the_files_of_a_processor(tmp_path):
    processor = ECGProcessor.from_pretrained(SHIPPED_MODEL)
    processor.save_pretrained(tmp_path)
    path = tmp_path / "processor_config.json"
    content = json.loads(path.read_text())
    written = {
        "transformers_version": "5.0.0",
        "image_processor_type": None,
        "unsloth_version": "1",
        "_processor_class": "x",
    }
    content.update(written)
    content["feature_extractor"].update(written)
    path.write_text(json.dumps(content))
    again = ECGProcessor.from_pretrained(tmp_path)
    assert again.feature_extractor.num_samples == processor.feature_extractor.num_samples
