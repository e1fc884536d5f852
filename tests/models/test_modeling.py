# SPDX-License-Identifier: Apache-2.0
"""The towers, embeddings, zero-shot scores, and classification: outputs, masks, loading, initialization."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import (
    NUM_LEADS,
    NUM_PATCHES,
    NUM_SAMPLES,
    PATCH_LENGTH,
    present_patches,
    some_masks,
    spread,
    tiny_batch,
    tiny_config,
    tiny_ecg,
    tiny_ecg_config,
    tiny_reports,
)
from torch import nn
from transformers.modeling_outputs import BaseModelOutputWithPooling

from cgdmer import (
    CGDMERECGModel,
    CGDMERForECGClassification,
    CGDMERForPreTraining,
    CGDMERForZeroShot,
    CGDMERModel,
)
from cgdmer.models.errors import ConfigurationError, ECGInputError, ModelFolderError

TEXT_CLASSES = [CGDMERModel, CGDMERForZeroShot, CGDMERForPreTraining]
ECG_CLASSES = [CGDMERECGModel, CGDMERForECGClassification]
ALL_CLASSES = [*TEXT_CLASSES, *ECG_CLASSES]
DISTILBERT = {
    "model_type": "distilbert",
    "vocab_size": 40,
    "dim": 16,
    "n_heads": 2,
    "n_layers": 1,
    "hidden_dim": 32,
    "max_position_embeddings": 32,
    "dropout": 0.0,
    "attention_dropout": 0.0,
}


def new(cls, **overrides):
    torch.manual_seed(0)
    return cls(tiny_config(**overrides) if cls in TEXT_CLASSES else tiny_ecg_config(**overrides))


def build(cls, **overrides):
    return spread(new(cls, **overrides))


def inputs_for(cls) -> dict[str, torch.Tensor]:
    batch = tiny_batch()
    wanted = {"ecg_values"}
    if cls in TEXT_CLASSES:
        wanted |= {"input_ids", "attention_mask"}
    if cls is CGDMERForPreTraining:
        wanted |= {"special_tokens_mask", "noise", "text_noise"}
    return {name: value for name, value in batch.items() if name in wanted}


def reports_for_model(records: int = 4) -> dict[str, torch.Tensor]:
    reports = tiny_reports(records)
    return {name: reports[name] for name in ("input_ids", "attention_mask")}


def xavier_deviation(weight: torch.Tensor) -> float:
    """The standard deviation of a new linear map's or convolution's weights."""
    receptive_field = weight[0, 0].numel()
    return (2 / (receptive_field * (weight.shape[0] + weight.shape[1]))) ** 0.5


# Outputs.


def test_the_shapes_of_the_encoder():
    outputs = build(CGDMERECGModel)(tiny_ecg())
    tokens = NUM_LEADS * NUM_PATCHES
    assert outputs.last_hidden_state.shape == (4, tokens, 16)
    assert outputs.pooler_output.shape == (4, 16)
    assert outputs.visible_indices.tolist() == [list(range(tokens))] * 4
    assert outputs.visible_mask.shape == (4, tokens)
    assert outputs.visible_mask.all()
    torch.testing.assert_close(outputs.pooler_output, outputs.last_hidden_state.mean(dim=1))


def test_the_shapes_of_both_towers():
    outputs = build(CGDMERModel)(tiny_ecg(3), **reports_for_model(5))
    assert outputs.logits_per_ecg.shape == (3, 5)
    assert torch.equal(outputs.logits_per_text, outputs.logits_per_ecg.T)
    assert (outputs.ecg_embeds.shape, outputs.text_embeds.shape) == ((3, 6), (5, 6))
    for embeds in (outputs.ecg_embeds, outputs.text_embeds):
        torch.testing.assert_close(embeds.norm(dim=-1), torch.ones(len(embeds)))
    assert outputs.ecg_model_output.last_hidden_state.shape == (3, 96, 16)
    assert outputs.text_model_output.last_hidden_state.shape == (5, 12, 16)


def test_scores_are_calibrated_cosines():
    model = build(CGDMERForZeroShot, score_scale=5, score_bias=-2.0)
    outputs = model(tiny_ecg(3), **reports_for_model(4))
    torch.testing.assert_close(outputs.cosine_per_ecg, outputs.ecg_embeds @ outputs.text_embeds.T)
    torch.testing.assert_close(outputs.logits_per_ecg, 5 * outputs.cosine_per_ecg - 2)
    torch.testing.assert_close(outputs.scores, outputs.logits_per_ecg.sigmoid())
    exclusive = model(tiny_ecg(3), **reports_for_model(4), multi_label=False)
    torch.testing.assert_close(exclusive.scores.sum(dim=1), torch.ones(3))
    torch.testing.assert_close(exclusive.scores, outputs.logits_per_ecg.softmax(dim=1))


def test_prompts_may_be_embedded_beforehand():
    model = build(CGDMERForZeroShot)
    text_embeds = model.get_text_features(**reports_for_model()).pooler_output
    torch.testing.assert_close(model(tiny_ecg(), text_embeds=text_embeds), model(tiny_ecg(), **reports_for_model()))
    for options in ({}, {"text_embeds": text_embeds, **reports_for_model()}):
        with pytest.raises(ValueError, match="either input_ids or text_embeds"):
            model(tiny_ecg(), **options)


def test_classification_takes_one_label_or_several():
    model = build(CGDMERForECGClassification, num_labels=3)
    several = torch.tensor([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1]])
    outputs = model(tiny_ecg(), labels=several)
    assert outputs.logits.shape == (4, 3)
    expected = nn.functional.binary_cross_entropy(outputs.logits.sigmoid(), several.float())
    torch.testing.assert_close(outputs.loss, expected)
    assert model.config.problem_type == "multi_label_classification"
    model.config.problem_type = None
    one = torch.tensor([0, 2, 1, 1])
    expected = -outputs.logits.log_softmax(dim=1)[torch.arange(4), one].mean()
    torch.testing.assert_close(model(tiny_ecg(), labels=one).loss, expected)
    assert model.config.problem_type == "single_label_classification"
    assert model(tiny_ecg()).loss is None
    assert model.config.problem_type == "single_label_classification"


def test_the_kind_of_the_labels_is_saved_with_a_classifier(tmp_path):
    model = build(CGDMERForECGClassification, num_labels=3)
    assert model.config.problem_type is None
    model(tiny_ecg(), labels=torch.tensor([0, 2, 1, 1])).loss.backward()
    model.save_pretrained(tmp_path)
    assert CGDMERForECGClassification.from_pretrained(tmp_path).config.problem_type == "single_label_classification"


def test_a_choice_among_a_single_label_is_refused():
    """Its loss would be zero whatever the model predicts."""
    model = build(CGDMERForECGClassification, num_labels=1)
    with pytest.raises(ECGInputError, match=r"floats of shape \(batch, 1\)"):
        model(tiny_ecg(), labels=torch.zeros(4, dtype=torch.int64))
    assert model(tiny_ecg(), labels=torch.zeros(4, 1)).loss > 0


def test_features_are_unit_vectors_in_a_standard_output():
    model = build(CGDMERModel)
    joint = model(tiny_ecg(), **reports_for_model())
    for outputs, embeds in (
        (model.get_ecg_features(tiny_ecg()), joint.ecg_embeds),
        (model.get_text_features(**reports_for_model()), joint.text_embeds),
    ):
        assert isinstance(outputs, BaseModelOutputWithPooling)
        assert outputs.last_hidden_state.shape[-1] == 16
        torch.testing.assert_close(outputs.pooler_output, embeds)
        torch.testing.assert_close(outputs.pooler_output.norm(dim=-1), torch.ones(4))


@pytest.mark.parametrize("cls", ALL_CLASSES)
@pytest.mark.parametrize("through", ["argument", "configuration"])
def test_tuples_hold_what_dicts_hold(cls, through):
    model = build(cls)
    inputs = inputs_for(cls)
    named = model(**inputs)
    if through == "argument":
        values = model(**inputs, return_dict=False)
    else:
        model.config.return_dict = False
        values = model(**inputs)
    assert isinstance(values, tuple)
    assert len(values) == len(named)

    def compare(value, expected):
        if isinstance(value, tuple):
            expected = expected.to_tuple() if hasattr(expected, "to_tuple") else expected
            for item, other in zip(value, expected, strict=True):
                compare(item, other)
        else:
            assert torch.equal(value, expected)

    for value, expected in zip(values, named.values(), strict=True):
        compare(value, expected)


@pytest.mark.parametrize("cls", ECG_CLASSES)
def test_hidden_states_and_attentions_are_returned(cls):
    model = build(cls)
    model.set_attn_implementation("eager")
    masks = {"lead_mask": some_masks()["lead_mask"]}
    outputs = model(tiny_ecg(), **masks, output_hidden_states=True, output_attentions=True)
    assert [state.shape for state in outputs.hidden_states] == [(4, 96, 16)] * 3
    assert [weights.shape for weights in outputs.attentions] == [(4, 2, 96, 96)] * 2
    for weights in outputs.attentions:
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones(4, 2, 96))
        # Record 1 has two leads: its first 16 tokens are real, and nothing attends to the padding after them.
        assert weights[1, :, :, 16:].max() == 0
    encoder = model if cls is CGDMERECGModel else model.ecg_model
    last = encoder(tiny_ecg(), **masks).last_hidden_state
    torch.testing.assert_close(encoder.norm(outputs.hidden_states[-1]), last)
    assert model(tiny_ecg()).hidden_states is None


def test_features_bring_hidden_states_and_attentions():
    model = build(CGDMERModel)
    model.set_attn_implementation("eager")
    ecg = model.get_ecg_features(tiny_ecg(), output_hidden_states=True, output_attentions=True)
    text = model.get_text_features(**reports_for_model(), output_hidden_states=True, output_attentions=True)
    assert (len(ecg.hidden_states), len(ecg.attentions)) == (3, 2)
    assert (len(text.hidden_states), len(text.attentions)) == (2, 1)


@pytest.mark.parametrize("cls", ALL_CLASSES)
def test_both_kinds_of_attention_agree(cls):
    model = build(cls)
    outputs = {}
    for implementation in ("eager", "sdpa"):
        model.set_attn_implementation(implementation)
        for name, module in model.named_modules():
            if hasattr(module, "config") and not name.startswith("ecg_decoder."):  # whose mask needs sdpa
                assert module.config._attn_implementation == implementation
        outputs[implementation] = model(**inputs_for(cls), **some_masks())
    torch.testing.assert_close(outputs["eager"], outputs["sdpa"], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("cls", [CGDMERForECGClassification, CGDMERForPreTraining])
@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_changes_nothing(cls, reentrant):
    inputs = inputs_for(cls)
    if cls is CGDMERForECGClassification:
        inputs["labels"] = torch.tensor([0, 1, 1, 0])
    results = []
    for checkpointing in (False, True):
        model = build(cls).train()
        if checkpointing:
            options = {"use_reentrant": reentrant}
            # Renamed in later versions of transformers.
            enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
            try:
                enable(options)
            except TypeError:
                enable(gradient_checkpointing_kwargs=options)
            assert any(getattr(module, "gradient_checkpointing", False) for module in model.modules())
        loss = model(**inputs).loss
        loss.backward()
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        results.append((loss, gradients))
    torch.testing.assert_close(results[0][0], results[1][0])
    assert results[0][1].keys() == results[1][1].keys()
    torch.testing.assert_close(results[0][1], results[1][1], atol=1e-5, rtol=1e-4)


# Absent leads and padded patches.


@pytest.mark.parametrize("cls", ALL_CLASSES)
@pytest.mark.parametrize("which", [("lead_mask",), ("patch_mask",), ("lead_mask", "patch_mask")])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_values_in_absent_places_never_matter(cls, which, attention):
    model = build(cls)
    model.set_attn_implementation(attention)
    inputs = inputs_for(cls)
    masks = {name: some_masks()[name] for name in which}
    present = present_patches(**masks)
    signal, noise = inputs["ecg_values"], 50 * torch.randn(4, NUM_LEADS, NUM_SAMPLES)
    garbage = inputs | {"ecg_values": torch.where(present.repeat_interleave(PATCH_LENGTH, dim=2), signal, noise)}
    assert not torch.equal(garbage["ecg_values"], inputs["ecg_values"])
    left, right = model(**inputs, **masks), model(**garbage, **masks)
    for outputs in (left, right):
        for part in (outputs, outputs.get("ecg_model_output")):
            if part is not None and "visible_mask" in part:
                # Padding may hold anything; it is never read.
                part["last_hidden_state"] = part["last_hidden_state"][part["visible_mask"]]
        if cls is CGDMERForPreTraining:
            outputs["reconstructed_patches"] = outputs["reconstructed_patches"][present]
    torch.testing.assert_close(left, right, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("cls", ALL_CLASSES)
def test_masks_of_ones_are_no_masks(cls):
    model = build(cls)
    ones = {"lead_mask": torch.ones(4, NUM_LEADS), "patch_mask": torch.ones(4, NUM_PATCHES)}
    torch.testing.assert_close(model(**inputs_for(cls)), model(**inputs_for(cls), **ones), atol=1e-6, rtol=1e-5)


def test_masks_have_an_effect():
    model = build(CGDMERECGModel)
    full = model(tiny_ecg()).pooler_output
    for name, mask in some_masks().items():
        pooled = model(tiny_ecg(), **{name: mask}).pooler_output
        changed = (pooled - full).abs().amax(dim=1) > 1e-3
        assert torch.equal(changed, (mask == 0).any(dim=1))


@pytest.mark.parametrize("leads", [[0], [1, 6], [0, 1, 2, 3, 4, 5]])
def test_a_subset_of_leads_is_the_attention_among_these_leads(leads):
    """The same tokens through the same layers, without any mask."""
    model = build(CGDMERECGModel)
    lead_mask = torch.zeros(4, NUM_LEADS)
    lead_mask[:, leads] = 1
    outputs = model(tiny_ecg(), lead_mask=lead_mask)
    hidden = model.tokenizer(tiny_ecg()).unflatten(1, (NUM_LEADS, NUM_PATCHES))[:, leads].flatten(1, 2)
    for layer in model.layers:
        hidden = layer(hidden, None)
    hidden = model.norm(hidden)
    assert outputs.last_hidden_state.shape == hidden.shape == (4, NUM_PATCHES * len(leads), 16)
    torch.testing.assert_close(outputs.last_hidden_state, hidden, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(outputs.pooler_output, hidden.mean(dim=1), atol=1e-5, rtol=1e-4)
    expected = [lead * NUM_PATCHES + patch for lead in leads for patch in range(NUM_PATCHES)]
    assert outputs.visible_indices[0].tolist() == expected


def test_masked_positions_are_left_out_like_absent_ones():
    model = build(CGDMERECGModel)
    masked = torch.zeros(4, NUM_LEADS, NUM_PATCHES, dtype=torch.bool)
    masked[:, 3:] = True
    lead_mask = torch.ones(4, NUM_LEADS)
    lead_mask[:, 3:] = 0
    torch.testing.assert_close(model(tiny_ecg(), bool_masked_pos=masked), model(tiny_ecg(), lead_mask=lead_mask))


@pytest.mark.parametrize("cls", [CGDMERForZeroShot, CGDMERECGModel, CGDMERForECGClassification])
def test_a_record_gives_the_same_alone_and_in_a_batch(cls):
    model = build(cls)
    inputs, masks = inputs_for(cls), some_masks()
    prompts = {name: value for name, value in inputs.items() if name != "ecg_values"}
    together = model(**inputs, **masks)
    for row in range(4):
        own = {name: mask[row : row + 1] for name, mask in masks.items()}
        alone = model(ecg_values=inputs["ecg_values"][row : row + 1], **prompts, **own)
        name = {CGDMERForZeroShot: "scores", CGDMERECGModel: "pooler_output"}.get(cls, "logits")
        torch.testing.assert_close(alone[name][0], together[name][row], atol=1e-5, rtol=1e-5)


def test_a_text_gives_the_same_alone_and_padded():
    for pooling in ("pooler", "mean"):
        model = build(CGDMERModel, text_pooling=pooling)
        reports = reports_for_model()
        together = model.get_text_features(**reports).pooler_output
        for row in range(4):
            length = int(reports["attention_mask"][row].sum())
            alone = model.get_text_features(reports["input_ids"][row : row + 1, :length]).pooler_output
            torch.testing.assert_close(alone[0], together[row], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_record_without_any_lead_spoils_neither_itself_nor_others(attention):
    model = build(CGDMERECGModel)
    model.set_attn_implementation(attention)
    lead_mask = torch.ones(2, NUM_LEADS)
    lead_mask[1] = 0
    pooled = model(tiny_ecg(2), lead_mask=lead_mask).pooler_output
    torch.testing.assert_close(pooled[0], model(tiny_ecg(2)).pooler_output[0], atol=1e-5, rtol=1e-5)
    assert not pooled[1].any()


@pytest.mark.parametrize(
    "shape",
    [(4, NUM_LEADS, NUM_SAMPLES + 8), (4, 8, NUM_SAMPLES), (NUM_LEADS, NUM_SAMPLES), (4, NUM_SAMPLES, NUM_LEADS)],
)
@pytest.mark.parametrize("cls", ALL_CLASSES)
def test_another_shape_is_refused(cls, shape):
    inputs = inputs_for(cls) | {"ecg_values": torch.zeros(shape)}
    with pytest.raises(ECGInputError, match=r"expected \(batch, 12, 64\)"):
        build(cls)(**inputs)


def test_the_raw_patch_lets_the_amplitude_through():
    """Group normalization alone removes a patch's amplitude; the raw patch brings it back."""
    for raw_patch, seen in ((True, True), (False, False)):
        tokenizer = build(CGDMERECGModel, raw_patch=raw_patch).tokenizer
        with torch.no_grad():
            for module in tokenizer.modules():
                if isinstance(module, nn.Conv1d):
                    module.bias.zero_()
        signal = 3 * tiny_ecg()
        assert torch.allclose(tokenizer(signal), tokenizer(2 * signal), atol=1e-3) is not seen


def test_a_token_depends_on_its_own_patch_alone():
    tokenizer = build(CGDMERECGModel).tokenizer
    signal = tiny_ecg()
    changed = signal.clone()
    changed[1, 4, 2 * PATCH_LENGTH : 3 * PATCH_LENGTH] += 1
    different = (tokenizer(signal) != tokenizer(changed)).any(dim=-1)
    assert different.nonzero().tolist() == [[1, 4 * NUM_PATCHES + 2]]


# Text pooling.


@pytest.mark.parametrize("pooling", ["pooler", "mean"])
def test_text_pooling(pooling):
    model = build(CGDMERModel, text_pooling=pooling)
    reports = reports_for_model()
    outputs = model.encode_text(**reports)
    if pooling == "pooler":
        torch.testing.assert_close(outputs.pooler_output, model.text_model.pooler(outputs.last_hidden_state))
    else:
        assert model.text_model.pooler is None
        assert not any("pooler" in name for name in model.state_dict())
        for row in range(4):
            length = int(reports["attention_mask"][row].sum())
            expected = outputs.last_hidden_state[row, :length].mean(dim=0)
            torch.testing.assert_close(outputs.pooler_output[row], expected)


def test_a_text_tower_without_pooler_asks_for_the_mean():
    with pytest.raises(ConfigurationError, match=r"DistilBertModel has no pooler.*'mean'"):
        build(CGDMERModel, text_config=DISTILBERT).get_text_features(**reports_for_model())
    model = build(CGDMERModel, text_config=DISTILBERT, text_pooling="mean")
    assert model(tiny_ecg(), **reports_for_model()).logits_per_ecg.shape == (4, 4)


# Saving and loading.


@pytest.mark.parametrize("cls", ALL_CLASSES)
def test_a_saved_model_gives_the_same_bits(cls, tmp_path):
    model = build(cls)
    model.save_pretrained(tmp_path)
    loaded, info = cls.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    state, expected = loaded.state_dict(), model.state_dict()
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(state[name], value), name
    torch.testing.assert_close(loaded.eval()(**inputs_for(cls)), model(**inputs_for(cls)), atol=0, rtol=0)


@pytest.fixture(scope="module")
def joint_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("joint")
    build(CGDMERForPreTraining).save_pretrained(folder)
    return folder


def test_the_encoder_loads_from_a_joint_checkpoint(joint_folder):
    joint = CGDMERForPreTraining.from_pretrained(joint_folder).eval()
    encoder = CGDMERECGModel.from_pretrained(joint_folder).eval()
    torch.testing.assert_close(
        encoder(tiny_ecg(), **some_masks()), joint.ecg_model(tiny_ecg(), **some_masks()), atol=0, rtol=0
    )
    assert not any(name.startswith("text") for name in encoder.state_dict())


@pytest.mark.parametrize("cls", [CGDMERModel, CGDMERForZeroShot])
def test_the_towers_load_from_a_pretraining_checkpoint(joint_folder, cls):
    joint = CGDMERForPreTraining.from_pretrained(joint_folder).eval()
    model = cls.from_pretrained(joint_folder).eval()
    expected = joint.state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_classification_loads_the_encoder_and_starts_a_new_classifier(joint_folder, tmp_path):
    encoder = CGDMERECGModel.from_pretrained(joint_folder)
    model = CGDMERForECGClassification.from_pretrained(
        joint_folder, num_labels=5, problem_type="multi_label_classification"
    )
    for name, value in encoder.state_dict().items():
        assert torch.equal(model.state_dict()[f"ecg_model.{name}"], value), name
    assert model.classifier.weight.shape == (5, 16)
    assert model.classifier.weight.std().item() == pytest.approx(xavier_deviation(model.classifier.weight), rel=0.3)
    assert not model.classifier.bias.any()
    model.save_pretrained(tmp_path)
    again = CGDMERForECGClassification.from_pretrained(tmp_path)
    assert again.config.num_labels == 5
    assert torch.equal(again.classifier.weight, model.classifier.weight)
    assert torch.equal(
        CGDMERECGModel.from_pretrained(tmp_path).layers[0].attention.q_proj.weight,
        encoder.layers[0].attention.q_proj.weight,
    )


def test_use_safetensors_none_is_the_default(joint_folder):
    """Callers may pass the option on without setting it."""
    expected = CGDMERModel.from_pretrained(joint_folder).state_dict()
    torch.testing.assert_close(
        CGDMERModel.from_pretrained(joint_folder, use_safetensors=None).state_dict(), expected, atol=0, rtol=0
    )


@pytest.mark.parametrize("cls", ALL_CLASSES)
def test_a_folder_without_weights_is_refused(cls, tmp_path):
    tiny_config().save_pretrained(tmp_path)
    with pytest.raises(ModelFolderError, match="holds no weights"):
        cls.from_pretrained(tmp_path)


def test_a_subfolder_without_weights_is_refused(joint_folder, tmp_path):
    shutil.copytree(joint_folder, tmp_path / "model")
    tiny_config().save_pretrained(tmp_path)
    assert CGDMERECGModel.from_pretrained(tmp_path, subfolder="model")
    with pytest.raises(ModelFolderError, match="holds no weights"):
        CGDMERECGModel.from_pretrained(tmp_path)


@pytest.mark.parametrize("cls", ALL_CLASSES)
def test_weights_of_other_sizes_are_refused(cls, joint_folder, tmp_path):
    shutil.copytree(joint_folder, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config["ecg_config"]["intermediate_size"] = 24
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelFolderError, match="has weights of other sizes"):
        cls.from_pretrained(tmp_path)


@pytest.mark.parametrize("cls", ALL_CLASSES)
@pytest.mark.parametrize("part", ["ecg_model.layers.1.feed_forward.fc1.bias", "ecg_model.tokenizer.lead_embedding"])
def test_missing_weights_are_refused(cls, part, joint_folder, tmp_path):
    shutil.copytree(joint_folder, tmp_path, dirs_exist_ok=True)
    weights = load_file(tmp_path / "model.safetensors")
    del weights[part]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelFolderError, match=f"lacks 1 weights.*{part.removeprefix('ecg_model.')}"):
        cls.from_pretrained(tmp_path)


def test_a_class_with_more_parts_than_the_checkpoint_is_refused(tmp_path):
    build(CGDMERModel).save_pretrained(tmp_path)
    with pytest.raises(ModelFolderError, match="CGDMERForPreTraining needs"):
        CGDMERForPreTraining.from_pretrained(tmp_path)


# Initialization.


@pytest.fixture
def empty_memory_is_nan():
    """torch fills new tensors with NaN, which shows what is never initialized."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("cls", ALL_CLASSES)
def test_parts_missing_from_a_checkpoint_are_initialized_as_by_the_constructor(cls, empty_memory_is_nan):
    """`from_pretrained` builds on the meta device and initializes missing parts with `_init_weights` alone."""
    model = new(cls)
    built = dict(model.state_dict())
    loaded_model = cls.from_pretrained(None, config=model.config, state_dict={})
    loaded = dict(loaded_model.state_dict()) | dict(loaded_model.named_buffers())
    assert built.keys() <= loaded.keys()
    for name, value in loaded.items():
        assert value.isfinite().all(), name
        if name not in built:
            continue
        if built[name].unique().numel() <= 1 or not built[name].is_floating_point():
            assert torch.equal(value, built[name]), f"{name} is constant"
        elif not torch.equal(value, built[name]):  # random, but of the same size
            assert value.std().item() == pytest.approx(built[name].std().item(), rel=0.6), name
            assert abs(value.mean()) < 0.7 * value.std(), name


@pytest.mark.parametrize("cls", ALL_CLASSES)
def test_every_parameter_starts_where_it_should(cls, empty_memory_is_nan):
    model = new(cls)
    for name, module in model.named_modules():
        if isinstance(module, (nn.LayerNorm, nn.GroupNorm)):
            assert (module.weight == 1).all(), name
            assert (module.bias == 0).all(), name
        elif isinstance(module, (nn.Linear, nn.Conv1d)):
            assert module.bias is None or not module.bias.any(), name
            from_transformers = name.startswith("text_model.")
            expected = 0.02 if from_transformers else xavier_deviation(module.weight)
            assert module.weight.std().item() == pytest.approx(expected, rel=0.3), name
    for name, parameter in model.named_parameters():
        assert parameter.isfinite().all(), name
        if name.endswith(("_embedding", "mask_token", "text_decoder.start")):
            assert 0.005 < parameter.std() < 1.5, name
            if parameter.ndim == 2:
                apart = torch.cdist(parameter, parameter).fill_diagonal_(torch.inf).min()
                assert apart > 0.005, f"{name} gives two places the same embedding"


@pytest.mark.parametrize("cls", ALL_CLASSES)
def test_nothing_lives_outside_parameters_and_saved_buffers(cls):
    """`.to(device)` would leave other tensors behind, and loading would leave unsaved buffers uninitialized."""
    model = build(cls)
    known = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
    for name, module in model.named_modules():
        for attribute, value in vars(module).items():
            assert not isinstance(value, torch.Tensor) or id(value) in known, f"{name}.{attribute}"
    unsaved = {name for name, _ in model.named_buffers()} - model.state_dict().keys()
    assert all(name.startswith("text_model.") for name in unsaved)


def test_layer_norms_take_their_epsilon_from_the_configuration():
    model = build(CGDMERForPreTraining, ecg_config={"layer_norm_eps": 1e-3})
    norms = [
        module
        for part in (model.ecg_model.layers, model.ecg_model.norm, model.ecg_decoder)
        for module in part.modules()
        if isinstance(module, nn.LayerNorm)
    ]
    assert len(norms) == 2 * 2 + 1 + 3 + 1
    assert {norm.eps for norm in norms} == {1e-3}


# Half precision.


@pytest.mark.parametrize("cls", ALL_CLASSES)
def test_bfloat16_runs(cls):
    model = build(cls)
    expected = model(**inputs_for(cls), **some_masks())
    outputs = model.to(torch.bfloat16)(**inputs_for(cls), **some_masks())
    for name, value in outputs.items():
        if isinstance(value, torch.Tensor):
            assert value.isfinite().all(), name
    name = {CGDMERECGModel: "pooler_output", CGDMERForECGClassification: "logits"}.get(cls, "ecg_embeds")
    torch.testing.assert_close(outputs[name].float(), expected[name].float(), atol=0.1, rtol=0.1)


def test_bfloat16_weights_stay_bfloat16(tmp_path):
    build(CGDMERForZeroShot).to(torch.bfloat16).save_pretrained(tmp_path)
    loaded = CGDMERForZeroShot.from_pretrained(tmp_path)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.bfloat16}
    assert loaded(**inputs_for(CGDMERForZeroShot)).scores.isfinite().all()


# Found by fuzzing (tests/security), where torch's own errors had come through.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lead_mask": torch.zeros(4, NUM_LEADS)}, "leave nothing"),
        ({"patch_mask": torch.zeros(4, NUM_PATCHES)}, "leave nothing"),
        ({"lead_mask": torch.ones(4, 8)}, "lead_mask has shape"),
        ({"patch_mask": torch.ones(4, 9)}, "patch_mask has shape"),
        ({"lead_mask": [[1] * NUM_LEADS] * 4}, "lead_mask is list"),
        ({"ecg_values": tiny_ecg()[:0]}, "shape"),
        ({"ecg_values": tiny_ecg().to(torch.int64)}, "torch.int64"),
        ({"ecg_values": tiny_ecg().numpy()}, "ndarray"),
    ],
)
def test_invalid_encoder_inputs_are_refused(arguments, message):
    with pytest.raises(ECGInputError, match=message):
        CGDMERECGModel(tiny_ecg_config())(**{"ecg_values": tiny_ecg()} | arguments)
