# SPDX-License-Identifier: Apache-2.0
"""Records that cannot be used end neither pretraining nor finetuning: they are left out, named, and counted."""

import csv
import json
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from pretraining_runs import in_two_processes, losses_by_step, options, pretrain
from transformers import AutoProcessor

from cgdmer import CGDMERConfig, CGDMERModel
from cgdmer.data.shards import ShardedDataset
from cgdmer.data.storage import load_dataset_folder, split_of_fold
from cgdmer.data.writing import write_dataset
from cgdmer.hub.cards import fill_card
from cgdmer.models.errors import CorpusError
from cgdmer.simulation.cohort import simulate_cohort
from cgdmer.training.arguments import FinetuningArguments
from cgdmer.training.augmentation import Augmentation
from cgdmer.training.finetune import finetune_model
from cgdmer.training.left_out import KEY, LeftOut
from cgdmer.training.pairs import PairCollator, PairDataset, PairMaker
from cgdmer.training.streaming import StreamedPairs, WorkerPosition
from unusable_records import REASONS, spoiled, with_unusable

NAMES = {f"spoiled {kind}": reason for kind, reason in REASONS.items()}


@pytest.fixture(scope="module")
def spoiled_folder(tmp_path_factory) -> Path:
    """A cohort with five unusable records among those for training, and one in each of the other splits."""
    folder = tmp_path_factory.mktemp("spoiled") / "dataset"
    records = list(with_unusable(simulate_cohort(60, seed=3, sampling_rate=100), "train", split_of_fold))
    for split in ("validation", "test"):
        one = next(record for record in records if split_of_fold(record) == split)
        records.insert(0, replace(spoiled(one, "gap"), record_id=f"spoiled in {split}"))
    write_dataset(records, folder, splits=split_of_fold, description="Simulated patients.")
    return folder


@pytest.fixture
def pairs(spoiled_folder, processor) -> PairDataset:
    return PairDataset(load_dataset_folder(spoiled_folder)["train"], processor.feature_extractor, "report", seed=5)


def named_in(folder: Path) -> dict[str, str]:
    return {row["record"]: row["reason"] for row in csv.DictReader((folder / "left_out.csv").read_text().splitlines())}


def test_another_record_takes_the_place(pairs, processor):
    ids = list(pairs.split["record_id"])
    seen = {}
    for index, sample in enumerate(pairs.__getitems__(list(range(len(pairs))))):
        if ids[index] in NAMES:
            assert sample[KEY][0][0] == ids[index] and NAMES[ids[index]] in sample[KEY][0][1]
            seen[ids[index]] = sample
        else:
            assert KEY not in sample
            alone = pairs.make_pair(pairs.split[index], np.random.default_rng((5, 0, index)))
            np.testing.assert_array_equal(sample["ecg_values"], alone["ecg_values"])
    assert seen.keys() == NAMES.keys()
    # The same one every time, in any order, and another one in another epoch.
    index = ids.index("spoiled gap")
    again = pairs[index]
    np.testing.assert_array_equal(again["ecg_values"], seen["spoiled gap"]["ecg_values"])
    assert again["texts"] == seen["spoiled gap"]["texts"] and again["texts"][0] in set(pairs.split["text"])
    pairs.set_epoch(1)
    assert not np.array_equal(pairs[index]["ecg_values"], again["ecg_values"])
    batch = PairCollator(processor.tokenizer)([pairs[index + 1], pairs[index]])
    assert [name for name, _ in batch.pop(KEY)] == ["spoiled gap"] and KEY not in batch
    assert all(isinstance(value, torch.Tensor) for value in batch.values())


def test_a_change_that_leaves_nothing_does_not_leave_the_record_out(processor, train_split):
    """With only lead I kept, and lead I flat, the unchanged record is used."""
    record = next(iter(simulate_cohort(1, seed=3, sampling_rate=100)))
    signal = record.signal.copy()
    signal[0] = 0
    flat = replace(record, signal=signal)

    class OnlyLeadI(Augmentation):
        def __call__(self, record, random):
            return replace(record, signal=record.signal[:1], lead_names=record.lead_names[:1], gain=None)

    maker = PairMaker(processor.feature_extractor, "report", {}, augmentation=OnlyLeadI(1.0, 0.0, 0.0))
    sample = maker._model_inputs(flat, np.random.default_rng(0))
    assert sample["lead_mask"].sum() > 1
    assert maker._model_inputs(record, np.random.default_rng(0))["lead_mask"].sum() == 1


def test_a_split_without_a_usable_record(spoiled_folder, processor):
    split = load_dataset_folder(spoiled_folder)["train"]
    split = split.filter(lambda name: name.startswith("spoiled"), input_columns="record_id")
    pairs = PairDataset(split, processor.feature_extractor, "report")
    with pytest.raises(CorpusError, match=r"record 'spoiled \w+' cannot be used .*nor can any of 100 others"):
        pairs[0]


def test_pretraining(spoiled_folder, small_preset, tmp_path, capsys):
    run = pretrain(
        spoiled_folder, small_preset, tmp_path / "run", "--num_train_epochs", "2", "--per_device_train_batch_size", "2"
    )
    named = named_in(run)
    assert named.keys() == NAMES.keys() | {"spoiled in validation"}
    assert all(reason in named[name] for name, reason in NAMES.items())
    summary = json.loads((run / "training_summary.json").read_text())
    assert summary["data"]["left_out_records"] == len(NAMES)
    assert not any(name in json.dumps(summary) for name in named), "the summary is published"
    said = capsys.readouterr()
    assert said.err.count("record 'spoiled gap' is left out: every lead") == 1
    assert "6 records were left out" in said.out
    assert "because they cannot be used: 5." in str(fill_card(run, "someone/model"))


def test_processes_make_the_same_steps(spoiled_folder, small_preset, tmp_path):
    arguments = ["--num_train_epochs", "1", "--per_device_train_batch_size"]
    alone = pretrain(spoiled_folder, small_preset, tmp_path / "alone", *arguments, "8")
    two = tmp_path / "two"
    in_two_processes("-m", "cgdmer.pretrain", *options(spoiled_folder, small_preset, two, *arguments, "4"))
    assert named_in(two) == named_in(alone)
    first, second = losses_by_step(alone), losses_by_step(two)
    assert first.keys() == second.keys()
    for step, losses in first.items():
        assert losses["loss"] == pytest.approx(second[step]["loss"], rel=1e-3)


def test_a_stream_goes_on_with_the_next_record(spoiled_folder, processor):
    dataset = ShardedDataset(str(spoiled_folder))
    make_pair = PairMaker(processor.feature_extractor, "report", {})
    stream = StreamedPairs(dataset, make_pair, PairCollator(processor.tokenizer), batch_size=3, seed=4)
    pairs = [pair for pair, _ in stream._pairs(0, WorkerPosition())]
    split = load_dataset_folder(spoiled_folder)["train"]
    assert len(pairs) == len(split) - len(NAMES)
    named = LeftOut()
    for batch, _, _ in islice(stream, len(split)):  # three epochs, in case one ends with such a record
        named.take_from(batch)
        assert len(batch["ecg_values"]) == 3
    assert named.reasons.keys() == NAMES.keys()


@pytest.fixture(scope="module")
def model_folder(small_preset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    CGDMERModel(CGDMERConfig.from_pretrained(small_preset)).save_pretrained(folder)
    AutoProcessor.from_pretrained(small_preset).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("freeze_encoder", [True, False])
def test_finetuning(spoiled_folder, model_folder, tmp_path, freeze_encoder, capsys):
    arguments = FinetuningArguments(
        str(model_folder), str(spoiled_folder), str(tmp_path / "run"), ["sinus_rhythm"], freeze_encoder=freeze_encoder
    )
    arguments.num_train_epochs, arguments.per_device_train_batch_size = 2, 2
    results = finetune_model(arguments)
    said = capsys.readouterr()
    assert "7 records were left out" in said.err and not said.out
    named = named_in(tmp_path / "run")
    assert named.keys() == NAMES.keys() | {"spoiled in validation", "spoiled in test"}
    assert results["left_out"] == len(named)
    split = load_dataset_folder(spoiled_folder)["test"]
    assert results["test"]["records"] == len(split) - 1
    summary = json.loads((tmp_path / "run" / "training_summary.json").read_text())
    assert summary["data"]["left_out_records"] == len(NAMES)


def test_what_is_left_out_survives_a_checkpoint():
    first, second = LeftOut(), LeftOut()
    first.take_from({KEY: [("a", "flat"), ("a", "flat")]})
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    second.take_from({KEY: [("b", "short")]})
    assert LeftOut.of_all(Accelerator(), first, second).reasons == {"a": "flat", "b": "short"}
    for state in ([], {"a": 1}, None, "x"):
        with pytest.raises(ValueError, match="left out"):
            second.load_state_dict(state)
