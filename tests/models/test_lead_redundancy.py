# SPDX-License-Identifier: Apache-2.0
"""What visible patches tell about masked ones without a model: limb leads are linear combinations of two of them.

Under dual masking (time columns 0.5, whole leads 0.2: 57 % of the patches), other patches at the same time determine
far fewer of the masked ones than if each lead is masked independently, whether about as many (56 %) or more (60 %).
"""

import numpy as np
import pytest
import torch

from cgdmer.models.leads import STANDARD_LEADS
from cgdmer.models.masking import mask_patches
from cgdmer.simulation.cohort import simulate_cohort

LIMB = 6
# Einthoven and Goldberger: I, II, III, aVR, aVL, aVF as combinations of I and II.
OF_I_AND_II = np.array([[1, 0], [0, 1], [-1, 1], [-0.5, -0.5], [1, -0.5], [-0.5, 1]])
MASKING = {"dual": ("dual", 0.5, 0.2), "uniform": ("uniform", 0.6, 0.0), "as many": ("uniform", 0.57, 0.0)}
RECORDS, PATCHES, PATCH = 60, 25, 40


def masks(name: str, records: int) -> np.ndarray:
    """(records, 12, patches) bool"""
    noise = torch.rand(records, 12, PATCHES, generator=torch.Generator().manual_seed(0))
    return mask_patches(noise, torch.ones_like(noise, dtype=torch.bool), *MASKING[name]).numpy()


def determined(masked: np.ndarray) -> np.ndarray:
    """(limb leads,) bool at one time: masked, and adding it to the visible limb leads does not raise their rank."""
    visible = OF_I_AND_II[~masked]
    rank = np.linalg.matrix_rank(visible) if len(visible) else 0
    with_it = [np.linalg.matrix_rank(np.vstack([visible, row])) for row in OF_I_AND_II]
    return masked & (np.array(with_it) == rank) & (rank > 0)


def share_determined(masked: np.ndarray) -> float:
    columns = masked[:, :LIMB].transpose(0, 2, 1).reshape(-1, LIMB)
    known = {tuple(column): determined(column) for column in np.unique(columns, axis=0)}
    return sum(known[tuple(column)].sum() for column in columns) / columns.sum()


def test_dual_masking_leaves_few_limb_patches_determined_by_others():
    assert [STANDARD_LEADS[lead] for lead in range(LIMB)] == ["I", "II", "III", "aVR", "aVL", "aVF"]
    shares = {}
    for name in MASKING:
        masked = masks(name, 400)
        # floor(0.5 * 25) columns and floor(0.2 * 12) leads; floor(0.6 * 25) and floor(0.57 * 25) patches of each lead
        hidden = {"dual": 1 - 13 / 25 * 10 / 12, "uniform": 0.6, "as many": 14 / 25}
        assert masked.mean() == pytest.approx(hidden[name], abs=1e-6)
        shares[name] = share_determined(masked)
    assert shares["dual"] == pytest.approx(0.15, abs=0.03)
    assert shares["uniform"] == pytest.approx(0.66, abs=0.03)
    assert shares["as many"] == pytest.approx(0.73, abs=0.03)


@pytest.fixture(scope="module")
def patches() -> np.ndarray:
    """(records, 12, patches, samples) in mV"""
    cohort = simulate_cohort(RECORDS, seed=5, sampling_rate=100)
    signals = np.stack([record.signal for record in cohort if record.signal.shape == (12, 1000)])
    return signals.reshape(len(signals), 12, PATCHES, PATCH).astype(np.float64)


def r2_by_group(patches: np.ndarray, masked: np.ndarray) -> dict[str, float]:
    """Share of the masked samples' variance that least squares explains from the leads visible at the same time.

    It is fitted on all times of the first half of the records, for each lead and each set of visible leads, and
    predicts the other half. If no lead is visible, nothing is predicted.
    """
    half = len(patches) // 2
    samples = patches[:half].transpose(1, 0, 2, 3).reshape(12, -1)
    gram = samples @ samples.T
    error, total = np.zeros(12), np.zeros(12)
    for record in range(half, len(patches)):
        for time in range(PATCHES):
            hidden = masked[record, :, time]
            seen, wanted = np.flatnonzero(~hidden), np.flatnonzero(hidden)
            true = patches[record, wanted, time]
            predicted = np.zeros_like(true)
            if len(seen):
                weights = np.linalg.lstsq(gram[np.ix_(seen, seen)], gram[np.ix_(seen, wanted)], rcond=1e-9)[0]
                predicted = weights.T @ patches[record, seen, time]
            error[wanted] += ((true - predicted) ** 2).sum(axis=1)
            total[wanted] += (true**2).sum(axis=1)
    groups = {"limb": slice(0, LIMB), "precordial": slice(LIMB, 12)}
    return {name: 1 - error[group].sum() / total[group].sum() for name, group in groups.items()}


def test_a_linear_predictor_explains_less_under_dual_masking(patches):
    found = {name: r2_by_group(patches, masks(name, len(patches))) for name in MASKING}
    for group in ("limb", "precordial"):
        assert found["dual"][group] < min(found["uniform"][group], found["as many"][group]) - 0.3, found
    # Uniform: nearly everything; dual: at most the share of masked patches whose column is not masked.
    assert found["uniform"]["limb"] > 0.75
    assert found["dual"]["limb"] < 0.25 and found["dual"]["precordial"] < 0.25
