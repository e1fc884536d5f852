# SPDX-License-Identifier: Apache-2.0
"""A prepared dataset is the same after `datasets` pushed it and streamed it back."""

import json
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import HfApi

from cgdmer.data.fingerprints import Fingerprints
from cgdmer.data.shards import ShardedDataset
from cgdmer.data.storage import load_dataset_folder, split_of_fold
from cgdmer.data.writing import write_dataset
from cgdmer.models.errors import CorpusError
from cgdmer.simulation.cohort import simulate_cohort

REPOSITORY = "lab/ecgs"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("prepared") / "ecgs"
    records = simulate_cohort(30, seed=5, sampling_rate=100)
    write_dataset(records, folder, splits=split_of_fold, description="Simulated patients.")
    return folder


@pytest.mark.asks  # `datasets` counts downloads from the Hub
def test_pushed_and_streamed_back(to_hub, prepared):
    splits = load_dataset_folder(prepared)
    splits.push_to_hub(REPOSITORY, private=True, num_shards={"train": 2, "validation": 1, "test": 1})
    HfApi().upload_file(
        path_or_fileobj=prepared / "summary.json",
        path_in_repo="summary.json",
        repo_id=REPOSITORY,
        repo_type="dataset",
    )
    shards = [path for path in to_hub.files(REPOSITORY, "dataset") if path.startswith("data/train-")]
    assert len(shards) == 2

    streamed = ShardedDataset(REPOSITORY)
    assert streamed.num_rows == len(splits["train"])
    assert streamed.summary == json.loads((prepared / "summary.json").read_text())
    assert list(streamed.train) == list(splits["train"])
    assert list(streamed.validation()) == list(splits["validation"])
    expected = Fingerprints.of(splits["train"])
    np.testing.assert_array_equal(streamed.fingerprints().records, expected.records)
    assert any(request.kind == "lfs-download" for request in to_hub.requests)


def test_a_private_dataset_needs_a_token(to_hub, prepared, monkeypatch):
    load_dataset_folder(prepared).push_to_hub(REPOSITORY, private=True)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(CorpusError, match="lab/ecgs is neither a folder of shards nor a dataset on the Hub"):
        ShardedDataset(REPOSITORY)
