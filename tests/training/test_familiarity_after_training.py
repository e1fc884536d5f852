# SPDX-License-Identifier: Apache-2.0
"""Training writes what its recordings look like to the model, from records that it was not trained on."""

from itertools import islice

import pytest
from pretraining_runs import pretrain

from cgdmer import FinetuningArguments, finetune_model
from cgdmer.data.writing import write_dataset
from cgdmer.hub.contents import pushed_files
from cgdmer.hub.staging import stage_model
from cgdmer.inference.familiarity import FILE_NAME, Familiarity
from cgdmer.inference.scorers import load_scorer
from cgdmer.presets import SHIPPED_MODEL
from cgdmer.simulation.cohort import simulate_cohort


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Forty training records, and 120 for validation."""
    folder = tmp_path_factory.mktemp("familiar") / "dataset"
    cohort = islice(simulate_cohort(160, seed=8, sampling_rate=100), 160)
    patients: dict[str, int] = {}

    def split(record) -> str:
        return "train" if patients.setdefault(record.patient_id, len(patients)) % 4 == 0 else "validation"

    write_dataset(cohort, folder, splits=split, description="Simulated patients.")
    return folder


@pytest.fixture(scope="module")
def pretrained(dataset, small_preset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "model"
    few = ("--max_train_steps", "2", "--per_device_train_batch_size", "8", "--text_source", "statements")
    return pretrain(dataset, small_preset, folder, *few)


def test_pretraining_writes_it(pretrained, tmp_path):
    scorer = load_scorer(pretrained)
    assert len(scorer.familiarity.held_out) > 100
    record = next(iter(simulate_cohort(1, seed=99, sampling_rate=100)))
    assert 0 < scorer.familiarity_of(record) <= 1
    stage_model(pretrained, tmp_path)
    assert Familiarity.of_model(tmp_path).digest() == scorer.familiarity.digest()
    (named,) = [one for one in pushed_files(tmp_path) if one["path"] == FILE_NAME]
    assert "ten or more" in named["people"] and "names nobody" in named["people"]


def test_a_stream_has_none(dataset, small_preset, pretrained, tmp_path):
    few = ("--max_train_steps", "1", "--per_device_train_batch_size", "8", "--text_source", "statements")
    folder = pretrain(dataset, small_preset, tmp_path / "model", *few, "--streaming")
    assert not (folder / FILE_NAME).exists() and load_scorer(folder).familiarity is None


def test_finetuning_writes_its_own(dataset, tmp_path):
    labels = ["sinus_rhythm", "atrial_fibrillation"]
    arguments = FinetuningArguments(str(SHIPPED_MODEL), str(dataset), str(tmp_path), labels, freeze_encoder=True)
    finetune_model(arguments)
    scorer = load_scorer(tmp_path)
    assert scorer.own_labels == labels and len(scorer.familiarity.held_out) > 100
    assert scorer.familiarity.digest() != Familiarity.of_model(SHIPPED_MODEL).digest()
    record = next(iter(simulate_cohort(1, seed=99, sampling_rate=100)))
    assert scorer.familiarity_of(record) > 0.01
