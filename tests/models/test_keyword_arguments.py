# SPDX-License-Identifier: Apache-2.0
"""A misspelt keyword argument is refused by every function that passes arguments on, with what was meant."""

import pytest
import torch
from transformers import pipeline

from cgdmer import ECGResNetModel, ECGViTModel
from cgdmer.families import Purpose, class_for
from cgdmer.models.errors import ECGInputError, ModelFolderError
from cgdmer.models.modeling_base import ECGPreTrainedModel
from cgdmer.presets import SHIPPED_MODEL, model_source
from cgdmer.simulation.cohort import simulate_record
from small_families import FAMILIES, small_config

ECG = torch.randn(2, 12, 1000)
TEXT = {"input_ids": torch.ones(2, 5, dtype=torch.long), "attention_mask": torch.ones(2, 5, dtype=torch.long)}
RECORD = simulate_record(["sinus_rhythm"], seed=1, sampling_rate=100)


def models_of(family: str) -> list[ECGPreTrainedModel]:
    config = small_config(family)
    branch = getattr(config, "ecg_config", config)
    found = []
    for purpose in (Purpose.ENCODING, Purpose.PRETRAINING, Purpose.CLASSIFICATION, Purpose.ZERO_SHOT):
        own = branch if purpose is Purpose.CLASSIFICATION else config
        try:
            found.append(class_for(own, purpose)(own).eval())
        except ModelFolderError:  # this family has none
            continue
    assert len(found) >= 3
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_every_forward_refuses_what_it_does_not_know(family):
    for model in models_of(family):
        inputs = {"ecg_values": ECG, **(TEXT if model.takes_texts else {})}
        for one, given in ((model, inputs), (model.base_model, {"ecg_values": ECG})):
            with pytest.raises(ECGInputError, match=r"no argument 'lead_maks'\. Did you mean 'lead_mask'\?"):
                one(**given, lead_maks=torch.zeros(2, 12))
            with pytest.raises(ECGInputError, match="no argument 'return_loss'"):
                one(**given, return_loss=True)
            with torch.no_grad():
                plain = one(**given, output_attentions=False, return_dict=True)
            assert not isinstance(plain, tuple)
        assert model.accepts_loss_kwargs is False  # Trainer passes num_items_in_batch to others


def test_features_and_classifier():
    model = class_for(small_config("cgdmer"), Purpose.ENCODING)(small_config("cgdmer")).eval()
    with pytest.raises(ECGInputError, match="Did you mean 'patch_mask'"):
        model.get_ecg_features(ECG, patch_msk=None)
    with pytest.raises(ECGInputError, match="Did you mean 'attention_mask'"):
        model.get_text_features(TEXT["input_ids"], atention_mask=None)
    assert model.get_text_features(**TEXT, output_hidden_states=True).hidden_states is not None
    positions = {"position_ids": torch.arange(5)[None]}  # the text tower's own
    expected = model.get_text_features(**TEXT).pooler_output
    torch.testing.assert_close(model.get_text_features(**TEXT, **positions).pooler_output, expected)
    branch = small_config("cgdmer").ecg_config
    classifier = class_for(branch, Purpose.CLASSIFICATION)(branch)
    with pytest.raises(ECGInputError, match="Did you mean 'labels'"):
        classifier(ECG, label=torch.zeros(2, 2))
    size = {"sampling_rate": 100, "num_samples": 1000, "patch_length": 40, "hidden_size": 16}
    for encoder, more in ((ECGViTModel, {"num_attention_heads": 2}), (ECGResNetModel, {})):
        config = encoder.config_class(**size, **more)
        with pytest.raises(ECGInputError, match="Did you mean 'lead_mask'"):
            encoder(config)(ECG, lead_maks=None)


def test_processor_and_pipelines(tiny_processor):
    for given in ({"ecgs": RECORD, "text": ["x"]}, {"ecg": RECORD, "text": ["x"], "window": True}):
        with pytest.raises(ECGInputError, match=r"no argument '(ecgs|window)'\. Did you mean '(ecg|windows)'\?"):
            tiny_processor(**given)
    with pytest.raises(ECGInputError, match="Did you mean 'max_length'"):
        tiny_processor(text=["x"], max_lenght=3)
    assert tiny_processor(text=["x y z"], max_length=3, truncation=True)["input_ids"]
    classify = pipeline("zero-shot-ecg-classification", model=model_source(SHIPPED_MODEL.name))
    with pytest.raises(ECGInputError, match="Did you mean 'multi_label'"):
        classify(RECORD, candidate_labels=["normal ECG"], multilabel=False)


def test_compiled_and_exported_models_take_the_same_arguments():
    model = class_for(small_config("cgdmer"), Purpose.ENCODING)(small_config("cgdmer")).eval().ecg_model
    exported = torch.export.export(model, (ECG,)).module()
    with torch.no_grad():
        expected = model(ECG).pooler_output
        torch.testing.assert_close(exported(ECG).pooler_output, expected)
        compiled = torch.compile(model, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(ECG, return_dict=True).pooler_output, expected)
