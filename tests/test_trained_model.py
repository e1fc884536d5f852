# SPDX-License-Identifier: Apache-2.0
"""What only a trained model can show: an untrained one gives all records nearly the same embedding."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import resample
from transformers import AutoModel, AutoProcessor

from cgdmer.inference.embeddings import embed_records
from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.reading_wfdb import read_wfdb
from cgdmer.simulation.cohort import simulate_cohort

pytestmark = pytest.mark.slow
NUM_RECORDS = 201
OTHER_RATES = (250, 400, 1000)


@pytest.fixture(scope="module")
def model_and_processor(trained_demo):
    folder, _ = trained_demo
    return AutoModel.from_pretrained(folder / "model").eval(), AutoProcessor.from_pretrained(folder / "model")


def at_rate(record: ECGRecord, sampling_rate: int) -> ECGRecord:
    """The same trace at another rate, through scipy's Fourier method, which the feature extractor does not use.

    The method joins the record's end to its start, so the trace is mirrored first.
    """
    both = np.concatenate([record.signal, record.signal[:, ::-1]], axis=1)
    length = round(record.signal.shape[1] * sampling_rate / record.sampling_rate)
    signal = resample(both, 2 * length, axis=1)[:, :length].astype(np.float32)
    return replace(record, signal=signal, sampling_rate=float(sampling_rate), gain=None, baseline=None)


def simulated_records(request) -> list[ECGRecord]:
    """One record each of patients that the demo has not seen, at 500 Hz."""
    patients = {record.patient_id: record for record in simulate_cohort(NUM_RECORDS, seed=77)}
    return list(patients.values())


def real_records(request) -> list[ECGRecord]:
    folder = request.getfixturevalue("real_data") / "ptb-xl-subset" / "records500"
    headers = sorted(folder.rglob("*.hea"))[:NUM_RECORDS]
    return [read_wfdb(header.with_suffix("")) for header in headers]


@pytest.mark.parametrize("source", [simulated_records, real_records])
def test_a_record_is_itself_at_any_sampling_rate(model_and_processor, request, source):
    model, processor = model_and_processor
    records = source(request)
    assert len(records) == NUM_RECORDS

    def embed(some):
        return embed_records(model, processor.feature_extractor, some).embeds

    at_500 = embed(records)
    for sampling_rate in OTHER_RATES:
        cosines = embed([at_rate(record, sampling_rate) for record in records]) @ at_500.T
        own = np.diagonal(cosines)
        assert own.min() > 0.98, sampling_rate
        nearest = cosines.argmax(axis=1) == np.arange(NUM_RECORDS)
        assert nearest.mean() >= 0.99, sampling_rate
