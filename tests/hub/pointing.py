# SPDX-License-Identifier: Apache-2.0
"""Points this process at a stand-in for the Hub."""

import datasets
import huggingface_hub
import transformers


def point_at(url: str, monkeypatch) -> None:
    """huggingface_hub and datasets read HF_ENDPOINT when they are imported, transformers when it first asks."""
    template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", url)
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", url)
    monkeypatch.setattr(transformers.utils.hub, "_hf_api", None)
