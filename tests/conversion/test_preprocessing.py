# SPDX-License-Identifier: Apache-2.0
"""What enters each converted network, against its authors' preprocessing as it is described, on real recordings.

The references use SciPy and the files' own samples alone. Leads are named by the references too: a model that swaps
two of them would fail.
"""

import json

import numpy as np
import pytest
import torch
import wfdb
from scipy import signal as scipy_signal

from cgdmer.conversion.converting import feature_extractor
from cgdmer.conversion.kind import ReleasedTensors
from cgdmer.conversion.register import kind_named
from cgdmer.families import ecg_config_of
from cgdmer.models.leads import STANDARD_LEADS
from cgdmer.models.reading_record import read_record
from released import RIVALS

LIMB = ["I", "II", "III"]
USUAL = [*LIMB, "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"]
MIMIC = [*LIMB, "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6"]
FOLDERS = {"merl-resnet18": "merl-resnet18-ckpt", "ecg-fm": "ecg-fm-pretrained", "melp": "melp-encoder"}
FOLDERS |= {"st-mem": "st-mem-encoder"}


def ordered(leads, names):
    return np.stack([leads[name.upper()] for name in names])


def zscored(signal, axis=None):
    keep = axis is not None
    return (signal - signal.mean(axis=axis, keepdims=keep)) / (signal.std(axis=axis, keepdims=keep) + 1e-8)


def butterworth(signal, order, edges, kind, rate=500):
    return scipy_signal.sosfiltfilt(scipy_signal.butter(order, edges, kind, fs=rate, output="sos"), signal)


def minmax(signal):
    return (signal - signal.min()) / (signal.max() - signal.min() + 1e-8)


def merl(leads):
    return [minmax(ordered(leads, MIMIC)[:, :5000])]


def ecg_fm(leads):
    scaled = zscored(ordered(leads, USUAL), axis=-1)
    return [scaled[:, :2500], scaled[:, 2500:5000]]


def ecgfounder(leads):
    return [zscored(ordered(leads, USUAL))]


def ecgfounder_for_finetuning(leads):
    signal = ordered(leads, USUAL)
    signal = scipy_signal.filtfilt(*scipy_signal.iirnotch(50, 30, 500), signal)
    signal = scipy_signal.filtfilt(*scipy_signal.butter(4, [0.67, 40], "bandpass", fs=500), signal)
    return [zscored(signal - np.stack([scipy_signal.medfilt(lead, 201) for lead in signal]))]


def ecgfounder_lead_one(leads):
    return [zscored(ordered(leads, ["I"]))]


def clef(leads):
    return [zscored(butterworth(ordered(leads, ["I"]), 5, [0.67, 40], "bandpass"))]


def ecg_jepa(leads):
    return [scipy_signal.resample(ordered(leads, ["I", "II", *USUAL[6:]]), 2500, axis=-1)]


def ecg_jepa_for_finetuning(leads):
    signal = butterworth(ordered(leads, ["I", "II", *USUAL[6:]]), 5, 0.67, "highpass")
    return [scipy_signal.resample(butterworth(signal, 5, 40, "lowpass"), 2500, axis=-1)]


def st_mem(leads):
    low_pass = scipy_signal.firwin(81, 0.45, window=("kaiser", 5.0))
    slower = scipy_signal.resample_poly(ordered(leads, USUAL), 1, 2, axis=-1, padtype="edge", window=low_pass)
    windows = [slower[:, start : start + 2250] for start in (0, 125, 250)]
    windows = [butterworth(butterworth(one, 5, 0.67, "highpass", 250), 5, 40, "lowpass", 250) for one in windows]
    return [zscored(one) for one in windows]


def hubert_ecg(leads):
    response = scipy_signal.firwin(151, [0.05, 47], pass_zero=False, fs=500)
    signal = scipy_signal.filtfilt(response, [1.0], ordered(leads, USUAL))
    lowest, highest = signal.min(axis=1, keepdims=True), signal.max(axis=1, keepdims=True)
    scaled = 2 * (signal - lowest) / (highest - lowest + 1e-8) - 1
    return [scaled[:, :2500], scaled[:, 2500:5000]]


def d_beta(leads):
    return [ordered(leads, USUAL)]


CASES = [
    ("merl-resnet18", False, merl),
    ("melp", False, merl),
    ("ecg-fm", False, ecg_fm),
    ("ecgfounder-12lead", False, ecgfounder),
    ("ecgfounder-12lead", True, ecgfounder_for_finetuning),
    ("ecgfounder-1lead", False, ecgfounder_lead_one),
    ("clef-small", False, clef),
    ("ecg-jepa", False, ecg_jepa),
    ("ecg-jepa", True, ecg_jepa_for_finetuning),
    ("st-mem", False, st_mem),
    ("hubert-ecg-small", False, hubert_ecg),
    ("d-beta", False, d_beta),
]


@pytest.fixture(scope="module")
def recordings(real_data):
    """Paths of complete ten-second recordings at 500 Hz without gaps."""
    paths = sorted((real_data / "ptb-xl-subset" / "records500").rglob("*.hea"))[::60]
    return [path.with_suffix("") for path in (*paths, *sorted((real_data / "csn-sample").glob("*.hea"))[::6])]


def entering(kind_name, for_finetuning):
    """The feature extractor of a kind, and the rows of the twelve leads that enter its network."""
    keys = json.loads((RIVALS / FOLDERS.get(kind_name, kind_name) / "keys.json").read_text())
    shapes = {name: torch.empty(shape, device="meta") for name, (shape, _) in keys["tensors"].items()}
    kind = kind_named(kind_name)
    config = kind.convert(ReleasedTensors(shapes, kind_name))[1]
    return feature_extractor(kind, config, for_finetuning), [
        STANDARD_LEADS.index(lead) for lead in ecg_config_of(config).leads
    ]


@pytest.mark.parametrize(("kind", "for_finetuning", "reference"), CASES)
def test_what_enters_is_what_the_authors_describe(recordings, kind, for_finetuning, reference):
    extract, rows = entering(kind, for_finetuning)
    compared = 0
    for path in recordings:
        stored = wfdb.rdrecord(str(path))
        leads = dict(zip(map(str.upper, stored.sig_name), stored.p_signal.T, strict=True))
        if np.isnan(stored.p_signal).any() or (np.ptp(stored.p_signal, axis=0) == 0).any():
            continue
        assert stored.fs == 500
        batch = extract(read_record(path), windows=True)
        if batch.record_use[0].seconds_cut or not batch.record_use[0].is_everything:
            continue
        wanted = np.stack(reference(leads))
        found = batch["ecg_values"][:, rows]
        assert found.shape == wanted.shape
        assert np.abs(found - wanted).max() < 1e-5 * np.abs(wanted).max()
        np.testing.assert_allclose(batch["window_weights"], 1 / len(wanted))
        compared += 1
    assert compared >= 12
