# SPDX-License-Identifier: Apache-2.0
"""A push that breaks anywhere leaves the repository unchanged or complete, says what to do, and can be repeated."""

import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from accounts import OTHER, READER
from pointing import point_at
from safetensors.numpy import save_file
from stand_in import Fault, planted
from tiny_hub_model import save_model

from cgdmer import CGDMERForZeroShot, ECGProcessor
from cgdmer.commands import main
from cgdmer.hub.publishing import commit_folder, push
from cgdmer.hub.staging import stage_model
from cgdmer.models.errors import ModelFolderError, PublishingError

REPOSITORY = "lab/tiny-ecg"
STAGES = ("whoami", "create", "tree", "validate-yaml", "preupload", "lfs-batch", "lfs-upload", "lfs-verify", "commit")
FAULTS: list[tuple[str, dict[str, Any]]] = [
    *((stage, {"cut_request_after": 0}) for stage in STAGES),
    *((stage, {"cut_reply_after": -1}) for stage in STAGES),
    *((stage, {"cut_reply_after": 5}) for stage in ("create", "lfs-batch", "commit")),
    *((stage, {"cut_request_after": 200}) for stage in ("lfs-upload", "commit")),
    *((stage, {"status": 500}) for stage in ("create", "lfs-upload", "commit")),
]


@pytest.fixture(scope="module")
def versions(tmp_path_factory) -> list[Path]:
    """Two versions of a model as they would be pushed, with different weights and cards."""
    folder = tmp_path_factory.mktemp("versions")
    for seed in range(2):
        (folder / f"staged {seed}").mkdir()
        stage_model(save_model(folder / f"{seed}", seed), folder / f"staged {seed}")
        (folder / f"staged {seed}" / "README.md").write_text(f"---\nlicense: mit\n---\nVersion {seed}.\n")
    return [folder / f"staged {seed}" for seed in range(2)]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(("stage", "how"), FAULTS, ids=lambda one: str(one))
def test_unchanged_or_complete(to_hub, versions, tmp_path, stage, how):
    old, new = versions
    commit_folder(old, REPOSITORY, commit_message="Old")
    git_attributes = {".gitattributes": to_hub.files(REPOSITORY)[".gitattributes"]}
    with planted(to_hub, Fault(stage, **how)) as fault, pytest.raises(PublishingError, match="push"):
        commit_folder(new, REPOSITORY, commit_message="New")
    assert fault.seen  # otherwise nothing was tried

    found = to_hub.files(REPOSITORY)
    arrived = stage == "commit" and "cut_reply_after" in how  # the commit was made, but the reply was lost
    assert found == contents(new if arrived else old) | git_attributes
    loaded = CGDMERForZeroShot.from_pretrained(REPOSITORY, cache_dir=tmp_path / "cache").state_dict()
    wanted = CGDMERForZeroShot.from_pretrained(new if arrived else old).state_dict()
    torch.testing.assert_close(loaded, wanted, atol=0, rtol=0)

    commit_folder(new, REPOSITORY, commit_message="New")
    assert to_hub.files(REPOSITORY) == contents(new) | git_attributes
    assert [commit.title for commit in to_hub.history(REPOSITORY)] == ["New", "Old", "initial commit"]


@pytest.mark.parametrize("stage", ["tree", "preupload", "lfs-batch", "lfs-upload", "lfs-verify"])
def test_a_connection_that_breaks_once_is_retried(to_hub, versions, stage):
    with planted(to_hub, Fault(stage, cut_request_after=0, times=1)) as fault:
        commit_folder(versions[0], REPOSITORY, commit_message="Old")
    assert fault.seen == 2


def test_a_first_push_that_breaks_leaves_an_empty_repository(to_hub, versions):
    with planted(to_hub, Fault("commit", cut_request_after=1000)), pytest.raises(PublishingError):
        commit_folder(versions[0], REPOSITORY, commit_message="First")
    assert to_hub.files(REPOSITORY).keys() == {".gitattributes"}


def test_a_slow_hub_is_waited_for(to_hub, versions):
    with planted(to_hub, Fault("commit", seconds=0.5)):
        commit_folder(versions[0], REPOSITORY, commit_message="First")
    assert len(to_hub.history(REPOSITORY)) == 2


@pytest.mark.parametrize(
    ("token", "said"),
    [
        (None, ["there is no token", "hf auth login", "HF_TOKEN", "https://huggingface.co/settings/tokens"]),
        ("hf_nobody", ["does not know the token", "hf auth login", "HF_TOKEN"]),
        (READER, ["may not write to lab", "write permission"]),
        (OTHER, ["may not write to lab", "an organization you belong to"]),
    ],
)
def test_missing_and_wrong_tokens(to_hub, model_folder, monkeypatch, capsys, token, said):
    monkeypatch.delenv("HF_TOKEN") if token is None else monkeypatch.setenv("HF_TOKEN", token)
    assert main(["push", str(model_folder), REPOSITORY]) == 1
    printed = capsys.readouterr().err
    assert printed.splitlines()[-1].startswith("cgdmer push: lab/tiny-ecg was not pushed: ")
    assert all(words in printed for words in said)
    assert not any(request.kind in ("preupload", "commit") for request in to_hub.requests)


@pytest.mark.asks
def test_no_network_and_offline_mode(to_hub, versions, monkeypatch):
    to_hub.stop()
    with pytest.raises(PublishingError, match=r"cannot be reached.*Check the network"):
        commit_folder(versions[0], REPOSITORY, commit_message="Nowhere")
    point_at("http://no-such-host.invalid", monkeypatch)
    with pytest.raises(PublishingError, match=r"cannot be reached.*Check the network"):
        commit_folder(versions[0], REPOSITORY, commit_message="Nowhere")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(PublishingError, match="HF_HUB_OFFLINE is set"):
        commit_folder(versions[0], REPOSITORY, commit_message="Nowhere")


def test_an_invalid_repository_name(to_hub, versions):
    with pytest.raises(PublishingError, match="organization/name"):
        commit_folder(versions[0], "lab/tiny/ecg", commit_message="Nowhere")


# What is never sent


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("pytorch_model.bin", b"anything"),
        ("checkpoint/optimizer.pt", b"anything"),
        ("notes.txt", b"\x80\x04\x95\x0b\x00"),  # a pickle with another suffix
    ],
)
def test_pickles_are_refused(to_hub, model_folder, name, content):
    (model_folder / name).parent.mkdir(exist_ok=True)
    (model_folder / name).write_bytes(content)
    with pytest.raises(ModelFolderError, match=r"pickle.*safetensors"):
        push(model_folder, REPOSITORY)
    assert not to_hub.requests


def test_torchs_archives_hold_pickles(to_hub, model_folder):
    torch.save({"a": torch.zeros(2)}, model_folder / "weights")
    with pytest.raises(ModelFolderError, match="pickle"):
        push(model_folder, REPOSITORY)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda folder: (folder / "config.json").unlink(), id="no config"),
        pytest.param(lambda folder: (folder / "config.json").write_text("{"), id="damaged config"),
        pytest.param(
            lambda folder: (folder / "config.json").write_text('{"architectures": ["BertModel"]}'), id="other model"
        ),
        pytest.param(lambda folder: (folder / "model.safetensors").unlink(), id="no weights"),
        pytest.param(lambda folder: cut(folder / "model.safetensors"), id="cut weights"),
        pytest.param(lambda folder: (folder / "tokenizer.json").unlink(), id="no tokenizer"),
        pytest.param(lambda folder: (folder / "processor_config.json").unlink(), id="no processor"),
        pytest.param(lambda folder: (folder / "training_records.safetensors").write_bytes(b"?"), id="fingerprints"),
        pytest.param(
            lambda folder: save_file(
                {name: np.arange(5) for name in ("records", "patients")},
                folder / "training_records.safetensors",
                {"corpora": "[]"},
            ),
            id="hashes of patients",
        ),
        pytest.param(lambda folder: (folder / "training_summary.json").write_text("{"), id="summary"),
    ],
)
def test_a_folder_that_does_not_load_is_not_sent(to_hub, model_folder, damage):
    damage(model_folder)
    with pytest.raises(ModelFolderError):
        push(model_folder, REPOSITORY)
    assert not to_hub.requests


def test_weights_that_are_not_finite(to_hub, model_folder):
    model = CGDMERForZeroShot.from_pretrained(model_folder)
    with torch.no_grad():
        model.ecg_shared_head.fc2.bias[0] = float("nan")
    model.save_pretrained(model_folder)
    with pytest.raises(ModelFolderError, match=r"ecg_shared_head\.fc2\.bias.*not finite"):
        push(model_folder, REPOSITORY)


def test_two_feature_extractors_that_differ(to_hub, model_folder):
    """One is of an earlier model; transformers would read the processor's."""
    extractor = ECGProcessor.from_pretrained(model_folder).feature_extractor
    extractor.save_pretrained(model_folder)
    push(model_folder, REPOSITORY)
    extractor.normalization = "zscore_lead"
    extractor.save_pretrained(model_folder)
    with pytest.raises(ModelFolderError, match=r"processor_config\.json and preprocessor_config\.json.*normalization"):
        push(model_folder, REPOSITORY)


def test_paths_of_this_machine_are_not_sent(to_hub, model_folder, tmp_path):
    """transformers records where a text tower came from; a README may name any folder."""
    config = (model_folder / "config.json").read_text()
    (model_folder / "config.json").write_text(config.replace("{", f'{{"_name_or_path": "{tmp_path}/bert",', 1))
    push(model_folder, REPOSITORY)
    assert not [name for name, content in to_hub.files(REPOSITORY).items() if str(tmp_path).encode() in content]
    (model_folder / "README.md").write_text(f"---\nlicense: mit\n---\nTrained in {model_folder}.\n")
    with pytest.raises(ModelFolderError, match=r"README\.md would publish"):
        push(model_folder, REPOSITORY)


def test_a_hand_written_card_stays(to_hub, model_folder):
    shutil.copyfile(Path(__file__).parents[2] / "model_cards" / "cgdmer-tiny-ptbxl.md", model_folder / "README.md")
    push(model_folder, REPOSITORY, license="cc-by-4.0")
    pushed = to_hub.files(REPOSITORY)["README.md"].decode()
    written = (model_folder / "README.md").read_text()
    assert pushed.split("---\n", 2)[2] == written.split("---\n", 2)[2]
    assert "license: cc-by-4.0" in pushed.split("---\n", 2)[1]
