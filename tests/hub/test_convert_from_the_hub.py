# SPDX-License-Identifier: Apache-2.0
"""`cgdmer convert` with a Hub id instead of a file."""

import pytest
import torch
from huggingface_hub import HfApi

from cgdmer.conversion.converting import convert
from cgdmer.models.errors import ModelFolderError
from released import released_file

REPOSITORY, FILE = "lab/released", "12_lead_ECGFounder.pth"


def test_a_file_is_fetched_by_the_name_under_which_it_was_published(to_hub, tmp_path):
    released, api = released_file("ecgfounder-12lead", tmp_path), HfApi()
    api.create_repo(REPOSITORY)
    api.upload_file(path_or_fileobj=released, path_in_repo=FILE, repo_id=REPOSITORY)
    from_hub = convert("ecgfounder-12lead", REPOSITORY, tmp_path / "a").state_dict()
    from_file = convert("ecgfounder-12lead", released, tmp_path / "b").state_dict()
    assert from_hub.keys() == from_file.keys()
    assert all(torch.equal(value, from_file[name]) for name, value in from_hub.items())


@pytest.mark.parametrize(
    ("kind", "file", "message"),
    [
        ("ecgfounder-12lead", "lab/nowhere", "cannot be fetched"),
        ("merl-resnet18-encoder", "lab/nowhere", "merl-resnet18-encoder is not published on the Hub"),
        ("ecgfounder-12lead", "downloads/12_lead_ECGFounder.pth", "is no file"),  # a wrong path asks nobody
        ("ecgfounder-12lead", "a/b/c", "is no file"),
    ],
)
def test_what_is_neither_a_file_nor_on_the_hub(to_hub, tmp_path, kind, file, message):
    before = len(to_hub.requests)
    with pytest.raises(ModelFolderError, match=message):
        convert(kind, file, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    assert (len(to_hub.requests) > before) == ("cannot be fetched" in message)
