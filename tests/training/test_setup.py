# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch._dynamo.testing import CompileCounter
from transformers import AutoProcessor

from cgdmer import CGDMERConfig, CGDMERForPreTraining
from cgdmer.models.errors import ConfigurationError
from cgdmer.pretrain import parse_arguments
from cgdmer.training.arguments import PretrainingArguments
from cgdmer.training.loop import pretrain_model
from cgdmer.training.pairs import PairCollator, PairDataset
from cgdmer.training.setup import compile_ecg_layers, model_and_processor, refuse_mixed_precision_without_gpu


def mean_cosine(embeds: torch.Tensor) -> float:
    return float((embeds @ embeds.T).mean())


def test_centered_heads_spread_the_records(small_preset, processor, train_split):
    torch.manual_seed(0)
    model = CGDMERForPreTraining(CGDMERConfig.from_pretrained(small_preset)).eval()
    pairs = PairDataset(train_split, processor.feature_extractor)
    batch = PairCollator(processor.tokenizer)(pairs.first(len(pairs)))

    def embeddings():
        with torch.no_grad():
            ecg = model.get_ecg_features(batch["ecg_values"]).pooler_output
            text = model.get_text_features(batch["input_ids"], batch["attention_mask"]).pooler_output
        return ecg, text

    assert all(mean_cosine(embeds) > 0.6 for embeds in embeddings())
    model.center_heads(batch)
    assert [mean_cosine(embeds) for embeds in embeddings()] == pytest.approx([0, 0], abs=0.1)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch, while it compiles
def test_layers_are_compiled_once_per_shape(make_preset, processor, train_split):
    """Not once per layer, nor once per step; texts of other lengths change nothing."""
    preset = make_preset(contrast_view="full")
    config = CGDMERConfig.from_pretrained(preset)
    config.ecg_config.num_hidden_layers, config.ecg_config.decoder_hidden_size = 3, 8
    torch.manual_seed(0)
    model = CGDMERForPreTraining(config)
    pairs = PairDataset(train_split, processor.feature_extractor)
    collate = PairCollator(processor.tokenizer)
    batches = [collate([pairs[index] for index in range(start, start + 4)]) for start in range(0, 24, 4)]
    assert len({batch["input_ids"].shape[1] for batch in batches}) > 1
    expected = [model(**batch).loss for batch in batches]
    names = list(model.state_dict())
    counter = CompileCounter()
    torch.compiler.reset()
    compile_ecg_layers(model, backend=counter)
    losses, compiled = [], []
    for batch in batches:
        loss = model(**batch).loss
        loss.backward()
        losses.append(loss.detach())
        compiled.append(counter.frame_count)
    # The encoder with and without hidden patches, and the decoder.
    assert compiled == [3] * len(batches)
    torch.testing.assert_close(torch.stack(losses), torch.stack(expected), rtol=1e-5, atol=1e-6)
    assert list(model.state_dict()) == names


def test_a_tokenizer_of_another_model_is_refused(make_preset, tmp_path):
    preset = make_preset(mask_token_id=3)
    CGDMERForPreTraining(CGDMERConfig.from_pretrained(preset)).save_pretrained(tmp_path)
    AutoProcessor.from_pretrained(preset).save_pretrained(tmp_path)
    options = parse_arguments(["--dataset", "d", "--model", str(tmp_path), "--output_dir", "o"])
    with pytest.raises(ConfigurationError, match="mask token is 4, but the model's configuration says 3"):
        model_and_processor(options)


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_configuration_for_gpus_is_refused_without_one(precision, monkeypatch, tmp_path):
    """What `accelerate launch --config_file examples/accelerate/one_gpu.yaml` sets."""
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", precision)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "False")
    arguments = PretrainingArguments("nowhere", str(tmp_path / "run"), config_name="cgdmer-tiny", report_to=["none"])
    with pytest.raises(ConfigurationError, match=f"mixed_precision {precision}, which is for GPUs, but .*torch"):
        pretrain_model(arguments)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")  # asked for in so many words
    refuse_mixed_precision_without_gpu()
    monkeypatch.setenv("ACCELERATE_USE_CPU", "False")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    refuse_mixed_precision_without_gpu()
