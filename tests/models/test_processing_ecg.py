# SPDX-License-Identifier: Apache-2.0
"""The processor: the feature extractor and the tokenizer behind one call."""

import numpy as np
import pytest
import torch
from transformers import AutoFeatureExtractor, AutoProcessor, AutoTokenizer

from cgdmer import ECGFeatureExtractor, ECGProcessor, ECGRecord
from cgdmer.models.errors import ECGInputError
from cgdmer.presets import preset_folder

NAMES = ["I", "II", "V1"]
REPORTS = ["sinus rhythm", "atrial fibrillation with rapid ventricular response"]
ECG_KEYS = {"ecg_values", "lead_mask", "patch_mask"}
TEXT_KEYS = {"input_ids", "attention_mask"}


def some_ecg(seconds: float = 10) -> dict:
    signal = np.random.default_rng(0).normal(size=(3, round(400 * seconds)))
    return {"ecg": signal * 200, "sampling_rate": 400, "lead_names": NAMES, "unit": "adu", "gain": 200}


def assert_equal(left, right) -> None:
    assert set(left) == set(right)
    for key in left:
        np.testing.assert_array_equal(np.asarray(left[key]), np.asarray(right[key]))


def test_signals_alone(tiny_processor):
    batch = tiny_processor(**some_ecg(), return_tensors="pt")
    assert set(batch) == ECG_KEYS
    assert all(isinstance(value, torch.Tensor) for value in batch.values())
    assert_equal(batch, tiny_processor.feature_extractor(**some_ecg()))


def test_texts_alone(tiny_processor):
    batch = tiny_processor(text=REPORTS, return_tensors="pt")
    assert set(batch) == TEXT_KEYS
    assert_equal(batch, tiny_processor.tokenizer(REPORTS, padding=True))
    assert set(tiny_processor(text="sinus rhythm")) == TEXT_KEYS


def test_signals_and_texts(tiny_processor):
    batch = tiny_processor(**some_ecg(), text=REPORTS, return_tensors="pt")
    assert set(batch) == ECG_KEYS | TEXT_KEYS == set(tiny_processor.model_input_names)
    assert len(batch["ecg_values"]) == 1 and len(batch["input_ids"]) == 2
    assert_equal({key: batch[key] for key in ECG_KEYS}, tiny_processor(**some_ecg()))
    assert_equal({key: batch[key] for key in TEXT_KEYS}, tiny_processor(text=REPORTS))


def test_records_and_windows(tiny_processor):
    signal = np.random.default_rng(0).normal(size=(3, 2500)).astype(np.float32)
    record = ECGRecord(signal=signal, sampling_rate=100, lead_names=tuple(NAMES))
    batch = tiny_processor(ecg=[record, record], windows=True)
    assert batch["record_index"].tolist() == [0, 0, 0, 1, 1, 1]
    assert batch["window_weights"].reshape(2, 3).sum(axis=1) == pytest.approx(1)
    assert len(tiny_processor(ecg=record)["ecg_values"]) == 1


def test_neither(tiny_processor):
    with pytest.raises(ECGInputError, match="needs ecg, text, or both"):
        tiny_processor()


def test_misspelled_argument_is_not_ignored(tiny_processor):
    with pytest.raises(ECGInputError, match="window"):
        tiny_processor(**some_ecg(), window=True)


@pytest.mark.parametrize("argument", ["sampling_rate", "lead_names", "unit", "gain"])
def test_signal_arguments_reach_the_extractor(tiny_processor, argument):
    arguments = some_ecg()
    del arguments[argument]
    with pytest.raises(ECGInputError, match=argument):
        tiny_processor(**arguments, text=REPORTS)


def test_padding(tiny_processor):
    batch = tiny_processor(text=REPORTS, return_tensors="pt")
    lengths = [len(tiny_processor.tokenizer(report)["input_ids"]) for report in REPORTS]
    assert lengths[0] < lengths[1] == batch["input_ids"].shape[1]
    assert batch["attention_mask"].sum(dim=1).tolist() == lengths
    assert (batch["input_ids"][0, lengths[0] :] == tiny_processor.tokenizer.pad_token_id).all()


def test_truncation_at_the_models_length(tiny_processor):
    assert tiny_processor.tokenizer.model_max_length == 256
    long_report = "sinus rhythm " * 400
    batch = tiny_processor(text=[long_report, "sinus rhythm"], return_tensors="pt")
    assert batch["input_ids"].shape == (2, 256)
    assert batch["input_ids"][0, -1] == tiny_processor.tokenizer.sep_token_id


def test_options_of_the_tokenizer(tiny_processor):
    batch = tiny_processor(text=REPORTS, padding="max_length", max_length=20, return_tensors="pt")
    assert batch["input_ids"].shape == (2, 20)
    assert tiny_processor(text=REPORTS, max_length=3)["input_ids"][1][-1] == tiny_processor.tokenizer.sep_token_id
    lengths = [len(ids) for ids in tiny_processor(text=REPORTS, padding=False)["input_ids"]]
    assert lengths[0] < lengths[1]


@pytest.mark.parametrize("preset", ["cgdmer-tiny", "cgdmer-small"])
def test_presets_and_round_trip(tmp_path, preset):
    processor = AutoProcessor.from_pretrained(preset_folder(preset))
    assert type(processor) is ECGProcessor and type(processor.feature_extractor) is ECGFeatureExtractor
    processor.save_pretrained(tmp_path)
    expected = processor(**some_ecg(12), text=REPORTS, windows=True)
    for loaded in (ECGProcessor.from_pretrained(tmp_path), AutoProcessor.from_pretrained(tmp_path)):
        assert type(loaded) is ECGProcessor
        assert loaded.feature_extractor.to_dict() == processor.feature_extractor.to_dict()
        assert loaded.tokenizer.model_max_length == processor.tokenizer.model_max_length
        assert_equal(loaded(**some_ecg(12), text=REPORTS, windows=True), expected)


@pytest.mark.parametrize("name", ["dtype", "torch_dtype"])
def test_the_models_dtype_is_not_kept(tmp_path, name):
    """It could not be saved."""
    processor = AutoProcessor.from_pretrained(preset_folder("cgdmer-tiny"), **{name: torch.float16})
    processor.save_pretrained(tmp_path)
    assert_equal(ECGProcessor.from_pretrained(tmp_path)(text=REPORTS), processor(text=REPORTS))


def test_parts_load_by_themselves_from_a_processors_folder(tmp_path, tiny_processor):
    extractor = ECGFeatureExtractor(250, 2500, 25, normalization="zscore_lead", filter="lowpass_40hz")
    ECGProcessor(extractor, tiny_processor.tokenizer).save_pretrained(tmp_path)
    assert AutoProcessor.from_pretrained(tmp_path).feature_extractor.to_dict() == extractor.to_dict()
    assert AutoFeatureExtractor.from_pretrained(tmp_path).to_dict() == extractor.to_dict()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer(REPORTS)["input_ids"] == tiny_processor.tokenizer(REPORTS)["input_ids"]


def test_signals_move_and_change_type_but_token_ids_do_not(tiny_processor):
    batch = tiny_processor(**some_ecg(), text=REPORTS, return_tensors="pt").to("cpu", torch.bfloat16)
    assert batch["ecg_values"].dtype == torch.bfloat16
    assert batch["input_ids"].dtype == batch["lead_mask"].dtype == torch.int64
