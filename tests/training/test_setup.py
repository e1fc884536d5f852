# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from transformers import AutoProcessor

from cgdmer import CGDMERConfig, CGDMERForPreTraining
from cgdmer.data.storage import load_dataset_folder
from cgdmer.training.pairs import PairCollator, PairDataset
from cgdmer.training.setup import center_heads


def mean_cosine(embeds: torch.Tensor) -> float:
    return float((embeds @ embeds.T).mean())


def test_centred_heads_spread_the_records(small_preset, cohort_folder):
    processor = AutoProcessor.from_pretrained(small_preset)
    torch.manual_seed(0)
    model = CGDMERForPreTraining(CGDMERConfig.from_pretrained(small_preset)).eval()
    pairs = PairDataset(load_dataset_folder(cohort_folder)["train"], processor.feature_extractor)
    collate = PairCollator(processor.tokenizer)
    batch = collate([pairs[index] for index in range(len(pairs))])

    def embeddings():
        with torch.no_grad():
            ecg = model.get_ecg_features(batch["ecg_values"]).pooler_output
            text = model.get_text_features(batch["input_ids"], batch["attention_mask"]).pooler_output
        return ecg, text

    assert all(mean_cosine(embeds) > 0.6 for embeds in embeddings())
    center_heads(model, batch)
    assert [mean_cosine(embeds) for embeds in embeddings()] == pytest.approx([0, 0], abs=0.1)
