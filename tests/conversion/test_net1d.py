# SPDX-License-Identifier: Apache-2.0
"""ECGFounder and CLEF compute what their authors' code does."""

import json

import pytest
import torch
from transformers import AutoModel, AutoModelForAudioClassification

from cgdmer.conversion.converting import convert
from cgdmer.models.leads import STANDARD_LEADS
from cgdmer.models.modeling_net1d import Net1DModel
from released import as_twelve_leads, assert_same, expected, network_input, released_file

KINDS = [
    *("clef-small", "ecgfounder-12lead", "ecgfounder-1lead"),
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("clef-medium", "clef-large")),
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_array_is_the_authors(kind, tmp_path):
    convert(kind, released_file(kind, tmp_path), tmp_path / "model")
    model, wanted = AutoModel.from_pretrained(tmp_path / "model").eval(), expected(kind)
    assert isinstance(model, Net1DModel)
    assert model.config.leads == (STANDARD_LEADS if kind == "ecgfounder-12lead" else ("I",))
    signal = as_twelve_leads(network_input(kind), model.config.leads)
    with torch.no_grad():
        outputs = model(signal, output_hidden_states=True)
    assert_same(outputs.pooler_output, wanted["features"])
    rows = json.loads(str(wanted["spec"]))["rows"]
    assert_same(outputs.last_hidden_state[:, rows["sequence_rows"]], wanted["sequence_rows"])
    blocks = model.config.stage_blocks
    for name, count in {"stem": 0, "stage0": 1, "stage1": 2, "stage3": 4}.items():
        tokens = outputs.hidden_states[sum(blocks[:count])].transpose(1, 2)
        assert_same(tokens[:, rows[f"{name}_rows"]], wanted[f"{name}_rows"])
    if "logits" in wanted:
        classifier = AutoModelForAudioClassification.from_pretrained(tmp_path / "model").eval()
        assert classifier.config.id2label[5] == "ATRIAL FIBRILLATION" and classifier.config.num_labels == 150
        with torch.no_grad():
            assert_same(classifier(signal).logits, wanted["logits"])
    assert not wanted.missed
