# SPDX-License-Identifier: Apache-2.0
"""The encoder of ECG-FM, MELP, and D-BETA, and the latter two with their text towers, at small sizes."""

import pytest
import torch
from transformers import AutoModel, AutoModelForAudioClassification, BertConfig, T5Config

from cgdmer.inference.exporting import export_onnx
from cgdmer.models.configuration_d_beta import DBetaConfig
from cgdmer.models.configuration_ecg_wav2vec import ECGWav2VecConfig
from cgdmer.models.configuration_melp import MELPConfig
from cgdmer.models.errors import CGDMERError, ConfigurationError
from cgdmer.models.feature_extraction_ecg import ECGFeatureExtractor
from cgdmer.models.modeling_d_beta import DBetaForZeroShot, DBetaModel
from cgdmer.models.modeling_ecg_wav2vec import ECGWav2VecForECGClassification, ECGWav2VecModel
from cgdmer.models.modeling_melp import MELPModel

SMALL = {
    "num_samples": 1010,  # 63 tokens of 16 samples, and two samples more
    "patch_length": 10,
    "conv_channels": 8,
    "token_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "position_kernel": 8,
    "position_groups": 2,
    "num_queries": 3,
    "query_size": 12,
    "num_query_heads": 2,
}
everywhere = pytest.mark.parametrize("pooling", ["mean", "class_token", "queries"])


def small_encoder(**options) -> ECGWav2VecModel:
    torch.manual_seed(0)
    return ECGWav2VecModel(ECGWav2VecConfig(**SMALL | options)).eval()


@everywhere
def test_saved_models_compute_the_same(pooling, tmp_path):
    model, signal = small_encoder(pooling=pooling), torch.randn(2, 12, 1010)
    model.save_pretrained(tmp_path / "encoder")
    with torch.no_grad():
        outputs = model(signal, output_hidden_states=True, output_attentions=True)
        again = AutoModel.from_pretrained(tmp_path / "encoder")(signal)
    tokens = 63 + (pooling == "class_token")
    assert outputs.last_hidden_state.shape == (2, tokens, 16)
    assert outputs.pooler_output.shape == (2, model.config.hidden_size) == (2, 12 if pooling == "queries" else 16)
    assert torch.equal(again.pooler_output, outputs.pooler_output)
    classifier = AutoModelForAudioClassification.from_pretrained(tmp_path / "encoder", num_labels=4)
    assert isinstance(classifier, ECGWav2VecForECGClassification) and classifier(signal).logits.shape == (2, 4)


@everywhere
def test_what_lies_beyond_the_end_is_not_seen(pooling):
    model, signal = small_encoder(pooling=pooling), torch.randn(2, 12, 1010)
    mask = torch.ones(2, 101, dtype=torch.int64)
    mask[0, 40:] = 0  # 400 samples are 25 tokens
    other = signal.clone()
    other[0, :, 400:] = 100
    with torch.no_grad():
        first, second, whole = model(signal, patch_mask=mask), model(other, patch_mask=mask), model(signal)
    torch.testing.assert_close(first.pooler_output, second.pooler_output)
    torch.testing.assert_close(first.pooler_output[1], whole.pooler_output[1], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(first.pooler_output[0], whole.pooler_output[0], atol=1e-3)
    assert first.visible_mask.sum(dim=1).tolist() == [25 + (pooling == "class_token"), first.visible_mask.shape[1]]


def test_absent_leads_are_zeros():
    model, signal, mask = small_encoder(), torch.randn(1, 12, 1010), torch.ones(1, 12)
    mask[:, 3] = 0
    zeroed = signal.clone()
    zeroed[:, 3] = 0
    with torch.no_grad():
        assert torch.equal(model(signal, lead_mask=mask).pooler_output, model(zeroed).pooler_output)


@pytest.mark.parametrize(
    "wrong",
    [
        {"pooling": "max"},
        {"num_samples": 10, "patch_length": 10},
        {"position_groups": 3},
        {"num_query_heads": 5},
        {"layer_norm_eps": 0.0},
        {"conv_layers": 11},
    ],
)
def test_configurations_that_cannot_be_are_refused(wrong):
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        ECGWav2VecConfig(**SMALL | wrong)


def small_d_beta() -> DBetaConfig:
    text = T5Config(
        vocab_size=50, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, feed_forward_proj="gated-gelu"
    )
    return DBetaConfig(ecg_config=SMALL | {"pooling": "class_token"}, text_config=text, projection_size=8)


def test_texts_are_scored_whatever_their_padding(tmp_path):
    torch.manual_seed(0)
    DBetaModel(small_d_beta()).save_pretrained(tmp_path / "model")
    model = DBetaForZeroShot.from_pretrained(tmp_path / "model")
    assert type(model.text_model).__name__ == "T5EncoderModel" and model.config.text_config.d_model == 16
    ids, signal = torch.tensor([[5, 6, 7, 1]]), torch.randn(2, 12, 1010)
    padded, mask = torch.tensor([[5, 6, 7, 1, 0, 0]]), torch.tensor([[1, 1, 1, 1, 0, 0]])
    with torch.no_grad():
        scores = model(signal, input_ids=ids).cosine_per_ecg
        torch.testing.assert_close(model(signal, input_ids=padded, attention_mask=mask).cosine_per_ecg, scores)
    encoder = ECGWav2VecModel.from_pretrained(tmp_path / "model")
    assert torch.equal(encoder.class_token, model.ecg_model.class_token)


def small_melp(**options) -> MELPConfig:
    text = BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
        is_decoder=True,
        use_cache=False,
    )
    sizes = {"start_token_id": 49, "text_length": 8, "projection_size": 6}
    return MELPConfig(ecg_config=SMALL | {"pooling": "queries"}, text_config=text, **sizes | options)


def test_every_text_is_closed_at_the_same_place(tmp_path):
    torch.manual_seed(0)
    MELPModel(small_melp()).save_pretrained(tmp_path / "model")
    model, ids = AutoModel.from_pretrained(tmp_path / "model"), torch.tensor([[2, 5, 6, 3]])
    padded, mask = torch.tensor([[2, 5, 6, 3, 0, 0]]), torch.tensor([[1, 1, 1, 1, 0, 0]])
    with torch.no_grad():
        embeds = model.get_text_features(ids).pooler_output
        torch.testing.assert_close(model.get_text_features(padded, mask).pooler_output, embeds)
        longer = model.encode_text(torch.arange(20)[None] + 5)
    assert longer.last_hidden_state.shape == (1, 9, 16)
    assert torch.equal(longer.last_hidden_state[:, -1], longer.pooler_output)
    assert model.get_ecg_features(torch.randn(2, 12, 1010)).pooler_output.shape == (2, 6)


@pytest.mark.parametrize("wrong", [{"text_length": 16}, {"start_token_id": 50}, {"closing_token_id": -1}])
def test_a_text_that_the_tower_cannot_take_is_refused(wrong):
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        small_melp(**wrong)


def test_sizes_that_differ_from_the_weights_are_refused(tmp_path):
    small_encoder().save_pretrained(tmp_path / "encoder")
    with pytest.raises(CGDMERError):
        AutoModel.from_pretrained(tmp_path / "encoder", token_size=32)


@pytest.mark.parametrize("pooling", ["class_token", "queries"])
def test_a_classifier_is_exported_for_any_number_of_windows(pooling, tmp_path):
    """What is learned once for all records must not fix their number."""
    labels = {"id2label": {0: "a", 1: "b"}, "label2id": {"a": 0, "b": 1}, "problem_type": "multi_label_classification"}
    config = ECGWav2VecConfig(**SMALL, pooling=pooling, sampling_rate=100, **labels)
    torch.manual_seed(0)
    ECGWav2VecForECGClassification(config).save_pretrained(tmp_path / "model")
    ECGFeatureExtractor(100, 1010, 10).save_pretrained(tmp_path / "model")
    assert export_onnx(tmp_path / "model", tmp_path / "model.onnx")["difference"] < 1e-4
