# SPDX-License-Identifier: Apache-2.0
from collections import Counter

import numpy as np
import pytest
import torch

from cgdmer.data.storage import row_to_record
from cgdmer.models.errors import CorpusError
from cgdmer.models.objectives import satisfied_pairs
from cgdmer.training.augmentation import Augmentation
from cgdmer.training.pairs import RARITY, EpochSampler, PairCollator, PairDataset, PairMaker, statement_id


def same(first: dict, second: dict) -> bool:
    return all(np.array_equal(first[name], second[name]) for name in first)


def test_draws_depend_on_seed_epoch_and_index_alone(train_split, processor):
    pairs = PairDataset(train_split, processor.feature_extractor, "statements", seed=5)
    again = PairDataset(train_split, processor.feature_extractor, "statements", seed=5)
    pairs.set_epoch(2)
    again.set_epoch(1)
    for index in range(6):
        again[index]  # earlier requests make no difference
    again.set_epoch(2)
    assert all(same(pairs[index], again[index]) for index in (4, 0, 7))
    other_seed = PairDataset(train_split, processor.feature_extractor, "statements", seed=6)
    other_seed.set_epoch(2)
    noises = [pairs[0]["noise"], pairs[1]["noise"], other_seed[0]["noise"]]
    pairs.set_epoch(3)
    noises.append(pairs[0]["noise"])
    assert len({noise.tobytes() for noise in noises}) == 4


def test_a_batch_holds_what_its_records_give_one_by_one(train_split, processor):
    pairs = PairDataset(train_split, processor.feature_extractor, "statements", seed=5)
    together = pairs.__getitems__([7, 2, 2, 11])
    assert len(together) == 4
    assert all(same(sample, pairs[index]) for sample, index in zip(together, (7, 2, 2, 11), strict=True))
    assert same(together[0], pairs.make_pair(train_split[7], np.random.default_rng((5, 0, 7))))


def test_validation_draws_never_change(train_split, processor):
    pairs = PairDataset(train_split, processor.feature_extractor, fixed_epoch=9)
    before = pairs[3]
    pairs.set_epoch(4)
    assert same(before, pairs[3])


def test_traces_begin_anywhere_in_training_and_where_they_do_in_validation(train_split, processor):
    record = row_to_record(train_split[2])
    plain = processor.feature_extractor(record)["ecg_values"][0]
    validation = PairDataset(train_split, processor.feature_extractor, fixed_epoch=0)
    np.testing.assert_array_equal(validation[2]["ecg_values"], plain)
    pairs, starts = PairDataset(train_split, processor.feature_extractor), set()
    for epoch in range(4):
        pairs.set_epoch(epoch)
        values = pairs[2]["ecg_values"]
        shifts = [shift for shift in range(plain.shape[1]) if np.array_equal(np.roll(plain, shift, axis=1), values)]
        assert len(shifts) == 1  # all leads by the same number of samples
        starts.add(shifts[0])
    assert len(starts) == 4


@pytest.mark.parametrize("fill", [0, -32768])  # zeros; missing samples
def test_filled_ends_are_left_out_before_a_trace_is_shifted_or_gets_noise(train_split, processor, fill):
    row = dict(train_split[0])
    counts = np.frombuffer(row["signal"], dtype="<i2").reshape(len(row["lead_names"]), -1).copy()
    counts[:, 700:] = np.asarray(row["baseline"])[:, None] if fill == 0 else fill
    row["signal"] = counts.tobytes()
    how = {"text_source": None, "counts": {}, "augmentation": Augmentation(lead_dropout=0.0, noise=0.03, gain=0.0)}
    make = PairMaker(processor.feature_extractor, **how)
    for seed in range(20):
        sample = make(row, np.random.default_rng(seed))
        assert sample["patch_mask"].tolist() == [1] * 17 + [0] * 8  # of 0.4 s
        assert not sample["ecg_values"][:, 700:].any()


def test_statements_are_a_part_of_the_findings(train_split, processor):
    pairs = PairDataset(train_split, processor.feature_extractor, "statements")
    sizes = set()
    for index in range(len(pairs)):
        sample, row = pairs[index], train_split[index]
        label_of = dict(zip(row["statements"], row["labels"], strict=True))
        stated = sample["texts"][0].split(". ")
        assert stated and set(stated) <= set(label_of)
        assert set(sample["text_statement_ids"][0]) - {0} == {statement_id(label_of[text]) for text in stated}
        assert set(sample["ecg_statement_ids"]) - {0} == {statement_id(label) for label in row["labels"]}
        sizes.add(len(stated))
    assert {1, 2} <= sizes


def test_two_wordings_of_one_finding_are_the_same_finding(train_split, processor):
    pairs = PairDataset(train_split, processor.feature_extractor, "statements")
    finding, wordings = "left_bundle_branch_block", set()
    for index, row in enumerate(train_split):
        if finding in row["labels"]:
            wordings.add(row["statements"][row["labels"].index(finding)])
            assert statement_id(finding) in pairs[index]["ecg_statement_ids"]
    assert len(wordings) > 1


def test_the_rarer_a_finding_the_likelier_it_is_stated(train_split, processor):
    pairs = PairDataset(train_split, processor.feature_extractor, "statements")
    index = max(range(len(train_split)), key=lambda row: len(train_split[row]["labels"]))
    held = train_split[index]["labels"]
    frequency = Counter(label for labels in train_split["labels"] for label in labels)
    alone = Counter()
    for epoch in range(600):
        pairs.set_epoch(epoch)
        stated = pairs[index]["texts"][0].split(". ")
        if len(stated) == 1:
            alone[stated[0]] += 1
    weights = np.array([frequency[label] ** -RARITY for label in held])
    seen = np.array([alone[statement] for statement in train_split[index]["statements"]]) / alone.total()
    np.testing.assert_allclose(seen, weights / weights.sum(), atol=0.07)


def test_without_labels_a_finding_is_its_statement(train_split, processor):
    bare = train_split.map(lambda row: {"labels": []}, load_from_cache_file=False)
    sample = PairDataset(bare, processor.feature_extractor, "statements")[0]
    assert set(sample["ecg_statement_ids"]) - {0} == {statement_id(text) for text in bare[0]["statements"]}


def test_several_texts_of_a_record_are_drawn_each_by_itself(train_split, processor):
    counts = Counter(label for labels in train_split["labels"] for label in labels)
    make_pair = PairMaker(processor.feature_extractor, "statements", counts, texts_per_record=3)
    samples = [make_pair(row, np.random.default_rng(number)) for number, row in enumerate(train_split)]
    for sample, row in zip(samples, train_split, strict=True):
        label_of = dict(zip(row["statements"], row["labels"], strict=True))
        assert len(sample["texts"]) == len(sample["text_statement_ids"]) == 3
        for text, ids in zip(sample["texts"], sample["text_statement_ids"], strict=True):
            assert set(ids) - {0} == {statement_id(label_of[stated]) for stated in text.split(". ")}
    assert any(len(set(sample["texts"])) == 3 for sample in samples)
    batch = PairCollator(processor.tokenizer)(samples[:5])
    assert batch["ecg_values"].shape[0] == 5 and batch["text_statement_ids"].shape[0] == 15
    texts = processor.tokenizer.batch_decode(batch["input_ids"], skip_special_tokens=True)
    again = [text for sample in samples[:5] for text in sample["texts"]]
    assert texts == processor.tokenizer.batch_decode(processor.tokenizer(again).input_ids, skip_special_tokens=True)
    assert len(torch.unique(batch["text_noise"][:, 0])) == 15


def test_a_report_is_satisfied_by_records_with_the_same_report_alone(train_split, processor):
    pairs = PairDataset(train_split, processor.feature_extractor, "report")
    samples = [pairs[index] for index in range(30)]
    satisfied = satisfied_pairs(
        torch.tensor(np.stack([sample["ecg_statement_ids"] for sample in samples])),
        torch.tensor(np.stack([sample["text_statement_ids"][0] for sample in samples])),
    )
    texts = [sample["texts"][0].lower() for sample in samples]
    assert satisfied.tolist() == [[first == second for second in texts] for first in texts]


def test_statement_ids_are_the_same_everywhere():
    assert statement_id("Sinus rhythm.") == statement_id(" sinus RHYTHM. ") == 4464413954768771600
    assert statement_id("sinus rhythm") != statement_id("sinus rhythms")
    assert statement_id("") != 0


def test_collator_masks_a_report_the_same_in_any_company(train_split, processor):
    pairs = PairDataset(train_split, processor.feature_extractor)
    collate = PairCollator(processor.tokenizer)
    samples = sorted((pairs[index] for index in range(12)), key=lambda sample: len(sample["texts"][0]))
    alone, together = collate(samples[:1]), collate([samples[0], samples[-1]])
    length = alone["input_ids"].shape[1]
    assert together["input_ids"].shape[1] > length
    assert torch.equal(alone["text_noise"][0], together["text_noise"][0, :length])
    assert together["special_tokens_mask"][0, 0] == 1


def test_a_split_without_text_is_refused(train_split, processor):
    silent = train_split.map(lambda row: {"text": None}, load_from_cache_file=False)
    with pytest.raises(CorpusError, match="text_source='report'"):
        PairDataset(silent, processor.feature_extractor, "report")
    assert len(PairDataset(silent, processor.feature_extractor, "statements")) == len(silent)


def test_a_folder_of_ones_own_has_labels_and_no_statements(train_split, processor):
    own = train_split.map(lambda row: {"statements": []}, load_from_cache_file=False)
    with pytest.raises(CorpusError, match=r"findings of a record in sentences.* use --text_source report"):
        PairDataset(own, processor.feature_extractor, "statements")


def test_records_without_text_are_left_out_and_counted(train_split, processor):
    some = train_split.map(
        lambda row, index: {"text": None if index % 2 else row["text"]}, with_indices=True, load_from_cache_file=False
    )
    pairs = PairDataset(some, processor.feature_extractor)
    assert pairs.num_without_text == len(some) // 2
    assert all(pairs[index]["texts"][0] for index in range(len(pairs)))


def test_sampler_gives_every_record_once_in_a_new_order_each_epoch():
    sampler = EpochSampler(20, seed=1)
    orders = []
    for epoch in (0, 1, 0):
        sampler.set_epoch(epoch)
        orders.append(list(sampler))
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(20))
