# SPDX-License-Identifier: Apache-2.0
"""HuBERT-ECG from files in its released layout, against what the authors' network computes."""

import numpy as np
import pytest
import torch
from intermediate import TOLERANCE, assert_equal_arrays, expected, recorded, relative_error, signal
from scipy.signal import decimate as decimate_of_scipy
from torch import nn
from transformers import AutoFeatureExtractor, AutoModel

from cgdmer import HubertECGConfig, HubertECGModel
from cgdmer.conversion.converting import convert
from cgdmer.models.decimation import decimate
from cgdmer.models.errors import ModelFolderError
from cgdmer.models.leads import STANDARD_LEADS
from released import write_released

SMALL = "hubert-ecg-small"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    home = tmp_path_factory.mktemp(SMALL)
    convert(SMALL, write_released(SMALL, home / "model.safetensors"), home / "model")
    return home / "model"


def tiny():
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    return HubertECGModel(HubertECGConfig(**sizes, conv_channels=16, position_groups=4)).eval()


@torch.no_grad()
def check_against_the_authors(folder, kind):
    model = AutoModel.from_pretrained(folder).eval()
    want, spec = expected(kind)
    found, network = {}, model.hubert
    recorded(network.feature_extractor.conv_layers[0], found, "conv0_rows")
    recorded(network.feature_extractor, found, "conv_rows")
    recorded(network.feature_projection, found, "projected_rows")
    recorded(network.encoder.layers[0], found, "layer0_input_rows", entering=True)
    recorded(network.encoder.layers[0], found, "layer0_rows")
    tokens = model.encode_row(signal(spec["input_shape"], spec["rate"]))
    found["sequence_rows"] = tokens
    for name in ("conv0_rows", "conv_rows"):
        found[name] = found[name].transpose(1, 2)
    found = {name: array[:, spec["rows"][name]] for name, array in found.items()}
    found["pooled"] = model.pool(tokens, None)
    assert found.keys() == want.keys() - {"cluster_logits_rows"}  # of pretraining
    assert_equal_arrays(found, want)


def test_the_small_model_computes_what_the_authors_network_does(small):
    check_against_the_authors(small, SMALL)


@pytest.mark.parametrize("kind", ["hubert-ecg-base", pytest.param("hubert-ecg-large", marks=pytest.mark.slow)])
def test_larger_models_compute_what_the_authors_network_does(tmp_path, kind):
    file = write_released(kind, tmp_path / "model.safetensors")
    with pytest.raises(ModelFolderError, match="has"):
        convert(SMALL, file, tmp_path / "small")
    convert(kind, file, tmp_path / "model")
    file.unlink()
    check_against_the_authors(tmp_path / "model", kind)


@torch.no_grad()
@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.GroupNorm])
def test_a_small_wrong_detail_is_seen(small, norm):
    model = AutoModel.from_pretrained(small).eval()
    want, spec = expected(SMALL)
    for part in model.modules():
        if isinstance(part, norm):
            part.eps = 1e-6
    tokens = model.encode_row(signal(spec["input_shape"], spec["rate"]))
    assert relative_error(model.pool(tokens, None), want["pooled"]) > TOLERANCE


@pytest.mark.parametrize(("length", "factor"), [(30_000, 5), (1_003, 5), (28, 2)])
def test_decimation_is_that_of_scipy_and_has_gradients(length, factor):
    values = np.random.default_rng(0).standard_normal((2, length)).cumsum(axis=1)
    found = torch.from_numpy(values).requires_grad_()
    row = decimate(found, factor)
    np.testing.assert_allclose(row.detach(), decimate_of_scipy(values, factor), atol=1e-7 * np.abs(values).max())
    row.sum().backward()
    assert found.grad.abs().min() > 0


@torch.no_grad()
def test_leads_are_joined_and_then_decimated():
    model, ecg = tiny(), signal((2, 12, 2500), 500)
    row = torch.from_numpy(decimate_of_scipy(ecg.flatten(1).double().numpy(), 5).copy()).float()
    torch.testing.assert_close(model.joined(ecg), row, rtol=0, atol=1e-5)
    outputs = model(ecg, output_hidden_states=True, output_attentions=True)
    torch.testing.assert_close(outputs.last_hidden_state, model.encode_row(row), rtol=0, atol=1e-4)
    torch.testing.assert_close(outputs.pooler_output, outputs.last_hidden_state.mean(dim=1))


@torch.no_grad()
def test_the_end_of_a_recording_does_not_matter():
    model, ecg = tiny(), signal((2, 12, 2500), 500)
    masks = {"lead_mask": torch.ones(2, 12), "patch_mask": torch.ones(2, 50)}
    masks["patch_mask"][1, 30:] = 0
    changed = ecg.clone()
    changed[1, :, 30 * 50 :] = 40.0
    found = [model(values, **masks).pooler_output for values in (ecg, changed)]
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)
    assert found[0].isfinite().all()


def test_the_whole_way_from_a_recording(small):
    model, extractor = AutoModel.from_pretrained(small).eval(), AutoFeatureExtractor.from_pretrained(small)
    ecg = signal((12, 2500), 500).numpy()
    inputs = extractor(ecg, sampling_rate=500, lead_names=STANDARD_LEADS, unit="mV", return_tensors="pt")
    inputs["ecg_values"].requires_grad_()
    outputs = model(**inputs)
    assert outputs.last_hidden_state.shape == (1, 93, 512)
    outputs.pooler_output.square().sum().backward()
    assert inputs["ecg_values"].grad.abs().amax(dim=-1).min() > 0
