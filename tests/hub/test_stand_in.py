# SPDX-License-Identifier: Apache-2.0
"""The stand-in for the Hub answers huggingface_hub as the Hub does."""

import hashlib

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, HfFileSystem, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

REPOSITORY = "lab/things"
WEIGHTS = bytes(range(256)) * 300


@pytest.fixture
def api(to_hub) -> HfApi:
    api = HfApi()
    api.create_repo(REPOSITORY)
    operations = [CommitOperationAdd("a/b/notes.md", b"one"), CommitOperationAdd("model.safetensors", WEIGHTS)]
    api.create_commit(REPOSITORY, operations, commit_message="First")
    return api


def test_files_come_back(api, tmp_path):
    for name, content in (("a/b/notes.md", b"one"), ("model.safetensors", WEIGHTS)):
        path = hf_hub_download(REPOSITORY, name, cache_dir=tmp_path)
        with open(path, "rb") as file:
            assert file.read() == content
    entries = {entry.path: entry for entry in api.list_repo_tree(REPOSITORY, recursive=True)}
    assert set(entries) == {".gitattributes", "a", "a/b", "a/b/notes.md", "model.safetensors"}
    assert entries["model.safetensors"].lfs.sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    assert entries["a/b/notes.md"].blob_id == "43dd47ea691c90a5fa7827892c70241913351963"  # git hash-object
    assert [entry.path for entry in api.list_repo_tree(REPOSITORY)] == [".gitattributes", "a", "model.safetensors"]


def test_parts_of_files(api):
    with HfFileSystem().open(f"{REPOSITORY}/model.safetensors", block_size=1000) as file:
        file.seek(70_000)
        assert file.read(500) == WEIGHTS[70_000:70_500]
        file.seek(len(WEIGHTS) - 10)
        assert file.read() == WEIGHTS[-10:]


def test_branches_tags_and_deletions(api, tmp_path):
    first = api.model_info(REPOSITORY).sha
    api.create_tag(REPOSITORY, tag="v1")
    api.create_branch(REPOSITORY, branch="next/big")
    api.create_commit(REPOSITORY, [CommitOperationDelete("a/")], commit_message="Less", revision="next/big")
    assert "a/b/notes.md" not in api.list_repo_files(REPOSITORY, revision="next/big")
    assert "a/b/notes.md" in api.list_repo_files(REPOSITORY, revision="v1")
    refs = api.list_repo_refs(REPOSITORY)
    assert {branch.name for branch in refs.branches} == {"main", "next/big"}
    assert [(tag.name, tag.target_commit) for tag in refs.tags] == [("v1", first)]
    titles = [commit.title for commit in api.list_repo_commits(REPOSITORY, revision="next/big")]
    assert titles == ["Less", "First", "initial commit"]
    with pytest.raises(HfHubHTTPError, match="412"):
        add = CommitOperationAdd("late.md", b"late")
        api.create_commit(REPOSITORY, [add], commit_message="Late", parent_commit=first, revision="next/big")


def test_what_does_not_exist(api, tmp_path):
    with pytest.raises(EntryNotFoundError):
        hf_hub_download(REPOSITORY, "absent", cache_dir=tmp_path)
    with pytest.raises(RevisionNotFoundError):
        hf_hub_download(REPOSITORY, "model.safetensors", revision="absent", cache_dir=tmp_path)
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("lab/absent")
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_repo(REPOSITORY)


def test_a_commit_of_a_file_that_never_arrived_is_refused(to_hub, api):
    oid = "0" * 64
    line = {"key": "lfsFile", "value": {"path": "x.safetensors", "algo": "sha256", "oid": oid, "size": 1}}
    repository = to_hub.repositories.get("model", REPOSITORY)
    before = to_hub.files(REPOSITORY)
    with pytest.raises(Exception, match="does not exist"):
        header = {"key": "header", "value": {"summary": "x"}}
        to_hub.repositories.commit(repository, "main", [header, line])
    assert to_hub.files(REPOSITORY) == before
