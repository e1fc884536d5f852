# SPDX-License-Identifier: Apache-2.0
"""Fixtures: the stand-in for the Hub, a process that talks to it, and a model to push."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import datasets
import huggingface_hub
import pytest
from accounts import TOKENS, WRITER
from pointing import point_at
from stand_in import HubStandIn
from tiny_hub_model import save_model


@pytest.fixture
def hub(tmp_path_factory) -> Iterator[HubStandIn]:
    with HubStandIn(tmp_path_factory.mktemp("hub") / "stored", TOKENS) as running:
        yield running


@pytest.fixture
def to_hub(hub, tmp_path, monkeypatch) -> HubStandIn:
    """This process talks to the stand-in, with a write token, and without waiting between retries."""
    point_at(hub.url, monkeypatch)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(huggingface_hub.utils._http.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "no_token"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub_cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets_cache")
    huggingface_hub.HfFileSystem.clear_instance_cache()  # instances keep the address they were made with
    monkeypatch.setenv("HF_TOKEN", WRITER)
    return hub


@pytest.fixture
def environment(hub, tmp_path) -> Callable[..., dict[str, str]]:
    """Environment variables for another process whose Hub is the stand-in; keywords override."""

    def make(**overrides: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
        home = tmp_path / "home"
        return kept | {
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "OMP_NUM_THREADS": "1",
            **overrides,
        }

    return make


@pytest.fixture
def model_folder(tmp_path) -> Path:
    return save_model(tmp_path / "model")
