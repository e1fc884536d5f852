# SPDX-License-Identifier: Apache-2.0
"""What all corpora share: resampling."""

from dataclasses import replace

import numpy as np
import pytest
from wfdb_files import write_csn

from cgdmer.corpora.corpus import resampled
from cgdmer.corpora.preparing import prepare_corpus
from cgdmer.data.storage import load_dataset_folder, record_to_row, row_to_record
from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import CorpusError


def sine(rate: float, seconds: float = 4.0) -> ECGRecord:
    times = np.arange(int(rate * seconds)) / rate
    signal = np.stack([np.sin(2 * np.pi * 3 * times), 30 * np.cos(2 * np.pi * 5 * times)]).astype(np.float32)
    return ECGRecord(signal, rate, ("I", "II"), gain=(200.0, 200.0), baseline=(7, 0))


@pytest.mark.parametrize(("rate", "new"), [(500.0, 100), (400.0, 500), (257.0, 100)])
def test_resampling(rate, new):
    record = resampled(sine(rate), new)
    expected = sine(new)
    assert record.sampling_rate == new and abs(record.signal.shape[1] - expected.signal.shape[1]) <= 1
    inner = slice(new // 2, 3 * new)
    np.testing.assert_allclose(record.signal[:, inner], expected.signal[:, inner], rtol=0.01, atol=0.02)
    stored = row_to_record(record_to_row(record))
    np.testing.assert_allclose(stored.signal, record.signal, atol=0.0006)


def test_resampling_keeps_gaps_and_large_values():
    record = sine(500.0)
    assert resampled(record, 500) is record
    signal = record.signal.copy()
    signal[0, 500:600] = np.nan
    signal[1, 1000] = 160.0
    new = resampled(replace(record, signal=signal), 100)
    missing = np.isnan(new.signal)
    assert missing[0, 101:119].all() and not missing[0, :99].any() and not missing[0, 121:].any()
    assert not missing[1].any()
    np.testing.assert_allclose(row_to_record(record_to_row(new)).signal, new.signal, atol=0.01)
    nothing = resampled(replace(record, signal=np.full_like(signal, np.nan)), 100)
    assert np.isnan(nothing.signal).all()


def test_prepared_at_another_rate(tmp_path):
    raw = write_csn(tmp_path / "raw", 6)
    prepare_corpus("csn", raw, tmp_path / "out", sampling_rate=250)
    for split in load_dataset_folder(tmp_path / "out").values():
        for row in split:
            assert (row["sampling_rate"], row["num_samples"]) == (250, 500)
    with pytest.raises(CorpusError, match="sampling_rate is 3;"):
        prepare_corpus("csn", raw, tmp_path / "other", sampling_rate=3)
