# SPDX-License-Identifier: Apache-2.0
"""Configurations survive saving, and refuse what would silently have no effect or no meaning."""

import json

import pytest
from tiny import tiny_config, tiny_ecg_config, tiny_text_config
from transformers import AutoConfig, BertConfig, DistilBertConfig, RobertaConfig

from cgdmer import CGDMERConfig, CGDMERECGConfig
from cgdmer.models.errors import ConfigurationError


def test_the_defaults_are_the_sizes_of_the_paper():
    config = CGDMERConfig()
    ecg = config.ecg_config
    assert (ecg.num_leads, ecg.num_patches, ecg.patch_length, ecg.sampling_rate) == (12, 100, 50, 500)
    assert (ecg.mask_strategy, ecg.mask_ratio) == ("uniform", 0.75)
    assert (ecg.hidden_size, ecg.num_hidden_layers) == (768, 8)
    assert (config.temperature, config.text_mask_ratio, config.text_objective) == (0.07, 0.15, "causal")
    assert isinstance(config.text_config, BertConfig)
    assert config.text_config.hidden_size == 768


def test_a_round_trip_keeps_every_value(tmp_path):
    config = tiny_config(
        temperature=0.2,
        text_pooling="mean",
        contrast_view="full",
        siglip_loss_weight=0.5,
        score_scale=3,
        ecg_config={"mask_strategy": "dual", "lead_mask_ratio": 0.25, "raw_patch": False},
        text_config=tiny_text_config(hidden_act="relu"),
    )
    config.save_pretrained(tmp_path)
    for loaded in (CGDMERConfig.from_pretrained(tmp_path), AutoConfig.from_pretrained(tmp_path)):
        assert isinstance(loaded, CGDMERConfig)
        assert isinstance(loaded.ecg_config, CGDMERECGConfig)
        assert isinstance(loaded.text_config, BertConfig)
        assert loaded.to_diff_dict() == config.to_diff_dict()
        assert loaded.ecg_config.mask_strategy == "dual"
        assert loaded.ecg_config.lead_mask_ratio == 0.25
        assert loaded.text_config.hidden_act == "relu"
        assert (loaded.temperature, loaded.text_pooling, loaded.contrast_view) == (0.2, "mean", "full")


def test_the_ecg_branch_loads_from_the_whole_configuration(tmp_path):
    tiny_config(ecg_config={"mask_ratio": 0.25}).save_pretrained(tmp_path)
    loaded = CGDMERECGConfig.from_pretrained(tmp_path)
    assert (loaded.mask_ratio, loaded.hidden_size, loaded.num_samples) == (0.25, 16, 64)


def test_an_ecg_configuration_alone_survives_with_its_labels(tmp_path):
    tiny_ecg_config(
        id2label={0: "AF", 1: "SR", 2: "STEMI"}, problem_type="multi_label_classification"
    ).save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(loaded, CGDMERECGConfig)
    assert loaded.id2label == {0: "AF", 1: "SR", 2: "STEMI"}
    assert (loaded.num_labels, loaded.problem_type) == (3, "multi_label_classification")


def test_options_may_be_changed_while_loading(tmp_path):
    tiny_config().save_pretrained(tmp_path)
    assert CGDMERConfig.from_pretrained(tmp_path, temperature=0.5).temperature == 0.5
    assert CGDMERECGConfig.from_pretrained(tmp_path, num_labels=7).num_labels == 7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_leads": 8}, "lead_mask"),
        ({"patch_length": 7}, "must divide num_samples"),
        ({"patch_length": 0}, "patch_length"),
        ({"num_samples": 0}, "num_samples is 0"),
        ({"sampling_rate": 0}, "sampling_rate is 0"),
        ({"hidden_size": 15}, "hidden_size.*multiple of num_attention_heads"),
        ({"num_attention_heads": 0}, "num_attention_heads is 0"),
        ({"num_hidden_layers": -1}, "num_hidden_layers is -1"),
        ({"decoder_hidden_size": 9}, "decoder_hidden_size.*multiple of decoder_num_attention_heads"),
        ({"tokenizer_channels": 6}, "multiple of 4"),
        ({"tokenizer_channels": 0}, "tokenizer_channels is 0"),
        ({"mask_strategy": "random"}, "uniform, time, lead, dual"),
        ({"mask_ratio": 1.0}, "less than 1"),
        ({"mask_ratio": -0.1}, "at least 0"),
        ({"lead_mask_ratio": 1.5}, "lead_mask_ratio"),
        ({"hidden_dropout": 1.5}, "hidden_dropout"),
        ({"attention_dropout": -0.1}, "attention_dropout"),
    ],
)
def test_ecg_values_without_meaning_are_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        tiny_ecg_config(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text_pooling": "cls"}, "pooler, mean"),
        ({"text_objective": "span"}, "causal, mlm"),
        ({"contrast_view": "both"}, "masked, masked_ecg, full"),
        ({"temperature": 0.0}, "positive"),
        ({"temperature": -1}, "positive"),
        ({"siglip_initial_scale": 0.0}, "siglip_initial_scale.*positive"),
        ({"text_mask_ratio": 0.0}, "text_mask_ratio"),
        ({"text_mask_ratio": 1.5}, "text_mask_ratio"),
        ({"contrastive_loss_weight": -1.0}, "contrastive_loss_weight is -1.0; expected 0"),
        ({"ecg_reconstruction_loss_weight": -1.0}, "ecg_reconstruction_loss_weight"),
        ({"text_reconstruction_loss_weight": -1.0}, "text_reconstruction_loss_weight"),
        ({"orthogonality_loss_weight": -1.0}, "orthogonality_loss_weight"),
        ({"siglip_loss_weight": -1.0}, "siglip_loss_weight"),
        ({"siglip_loss_weight": float("nan")}, "siglip_loss_weight is nan"),
        ({"ecg_config": {"mask_ratio": 0.0}}, "nothing to reconstruct"),
        ({"text_config": {"hidden_size": 16}}, "model_type"),
        ({"text_config": {"model_type": "brt"}}, "'brt'.*'bert'"),
        ({"text_config": "bert"}, "text_config is 'bert'.*dict"),
        ({"ecg_config": {"mask_ratio": 2.0}}, "mask_ratio is 2.0"),
    ],
)
def test_values_without_meaning_are_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        tiny_config(**options)


def test_a_mask_that_hides_a_single_patch_or_lead_counts():
    for options in ({"mask_ratio": 1 / 49}, {"mask_strategy": "dual", "mask_ratio": 0.0, "lead_mask_ratio": 1 / 12}):
        assert CGDMERECGConfig(num_samples=980, patch_length=20, **options).hides_patches
    assert not CGDMERECGConfig(num_samples=980, patch_length=20, mask_ratio=1 / 50).hides_patches


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (CGDMERConfig, {"temprature": 0.1}, "CGDMERConfig has no option 'temprature'. Did you mean 'temperature'"),
        (CGDMERConfig, {"siglip_weight": 0.1}, "siglip_weight.*Did you mean"),
        (CGDMERConfig, {"ecg_config": {"mask_ration": 0.1}}, "CGDMERECGConfig has no option.*'mask_ratio'"),
        (CGDMERECGConfig, {"hiden_size": 16}, "Did you mean 'hidden_size'"),
        (CGDMERECGConfig, {"zzzz": 16}, "has no option 'zzzz'.$"),
        (
            CGDMERConfig,
            {"model_type": "cgdmer_ecg", "attention_dropout": 0.0},
            "of type .cgdmer_ecg., which CGDMERConfig",
        ),
    ],
)
def test_a_misspelled_option_is_refused_with_the_closest_one(make, options, message):
    with pytest.raises(ConfigurationError, match=message):
        make(**options)


@pytest.mark.parametrize("ecg_config", ["cgdmer_ecg", tiny_text_config()])
def test_only_an_ecg_configuration_configures_the_ecg_branch(ecg_config):
    with pytest.raises(ConfigurationError, match="ecg_config is"):
        CGDMERConfig(ecg_config=ecg_config)


def test_a_misspelled_option_in_a_file_is_refused(tmp_path):
    tiny_config().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"text_poling": "mean"}))
    with pytest.raises(ConfigurationError, match="text_pooling"):
        CGDMERConfig.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (tiny_ecg_config, {"hidden_size": "16"}),
        (tiny_ecg_config, {"hidden_size": 16.0}),
        (tiny_ecg_config, {"mask_ratio": "half"}),
        (tiny_ecg_config, {"raw_patch": "yes"}),
        (tiny_config, {"temperature": "low"}),
        (tiny_config, {"text_pooling": None}),
    ],
)
def test_values_of_the_wrong_type_are_refused(make, options):
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        make(**options)


@pytest.mark.parametrize(
    ("text_config", "kind"),
    [
        ({"model_type": "distilbert", "dim": 16, "n_heads": 2, "n_layers": 1, "hidden_dim": 32}, DistilBertConfig),
        (
            {"model_type": "roberta", "hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1},
            RobertaConfig,
        ),
    ],
)
def test_the_text_tower_may_be_of_another_type(text_config, kind, tmp_path):
    before = dict(text_config)
    config = tiny_config(text_config=text_config)
    assert text_config == before
    config.save_pretrained(tmp_path)
    for checked in (config, CGDMERConfig.from_pretrained(tmp_path)):
        assert isinstance(checked.text_config, kind)
        assert checked.text_config.hidden_size == 16
        assert checked.text_config.num_attention_heads == 2


@pytest.mark.parametrize(("contrastive", "siglip", "aligns"), [(1, 0, True), (0, 1, True), (0, 0, False)])
def test_aligns_says_whether_a_loss_pulls_pairs_together(contrastive, siglip, aligns):
    assert tiny_config(contrastive_loss_weight=contrastive, siglip_loss_weight=siglip).aligns is aligns


def test_registered_pipelines_need_no_entry():
    entry = {"impl": "a.B", "pt": [], "type": "multimodal"}
    for make in (tiny_config, tiny_ecg_config):
        assert not hasattr(make(custom_pipelines={"zero-shot-ecg-classification": entry}), "custom_pipelines")
        assert make(custom_pipelines={"a-task-of-another-package": entry}).custom_pipelines
