# SPDX-License-Identifier: Apache-2.0
"""What casts doubt on a recording is found, and ordinary recordings are not doubted."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pyarrow.parquet
import pytest

import cgdmer
from cgdmer.commands import main
from cgdmer.models.errors import CGDMERError, ECGInputError, ECGInputWarning
from cgdmer.models.feature_extraction_ecg import ECGFeatureExtractor
from cgdmer.models.leads import STANDARD_LEADS
from recordings import write_wfdb

RECORD = cgdmer.simulate_record(["sinus_rhythm"], seed=3)
EXTRACTOR = ECGFeatureExtractor(sampling_rate=100, num_samples=1000)
TIMES = np.arange(RECORD.signal.shape[1]) / RECORD.sampling_rate


def doubts(signal, lead_names=STANDARD_LEADS) -> tuple[str, ...]:
    return EXTRACTOR.use_of(replace(RECORD, signal=signal, lead_names=tuple(lead_names), derived_leads=())).doubts


def with_row(row, lead_T):
    signal = RECORD.signal.copy()
    signal[row] = lead_T
    return signal


def clipped(signal):
    limits = 0.5 * np.abs(signal).max(axis=1, keepdims=True)
    return np.clip(signal, -limits, limits)


HUM = 0.15 * np.sin(2 * np.pi * 50 * TIMES)
NOISE = np.random.default_rng(0).normal(0, 0.15, RECORD.signal.shape)
FLAT = np.where((TIMES > 3) & (TIMES < 5), 0.25, RECORD.signal[6])


@pytest.mark.parametrize(
    ("signal", "said"),
    [
        (RECORD.signal * 10, "times as high as usual"),
        (RECORD.signal * 5, "times as high as usual"),
        (RECORD.signal * 0.1, "times as high as usual"),
        (RECORD.signal / RECORD.signal.std(axis=1, keepdims=True), "same standard deviation"),
        (RECORD.signal / np.ptp(RECORD.signal, axis=1, keepdims=True), "same height"),
        (RECORD.signal / np.abs(RECORD.signal).max(axis=1, keepdims=True), "same largest value"),
        (with_row(6, RECORD.signal[6] + HUM), "V1: mains hum"),
        (RECORD.signal + NOISE, "noise of more than"),
        (clipped(RECORD.signal), "cut off at the converter's limits"),
        (with_row(6, FLAT), "V1: constant for a second"),
        (RECORD.signal[[1, 0, *range(2, 12)]], "I and II seem to be exchanged"),
        (with_row(2, 2 * RECORD.signal[2]), "III seems to be 2 times what it should be"),
        (with_row(4, -RECORD.signal[4]), "aVL seems to be -1 times what it should be"),
    ],
)
def test_faults_are_named(signal, said):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert any(said in sentence for sentence in doubts(signal)), doubts(signal)


def is_doubted(record) -> bool:
    try:
        return bool(EXTRACTOR.use_of(record).doubts)
    except ECGInputError:
        return True


FOLDERS = ["ptb-xl-subset/records500", "csn-sample", "georgia-sample", "cpsc2018-sample", "code15-sample"]


def test_few_real_recordings_are_doubted_and_changed_ones_are(real_data):
    doubted, found, count = [], dict.fromkeys((5.0, 10.0, 0.1, "one deviation"), 0), 0
    for path in (header for folder in FOLDERS for header in sorted((real_data / folder).rglob("*.hea"))):
        try:
            record = cgdmer.read_record(path.with_suffix(""))
            use = EXTRACTOR.use_of(record)
        except CGDMERError:  # two planted faults of CODE-15
            continue
        count += 1
        if use.doubts:
            doubted.append((path.stem, use.doubts))
        for change in found:
            signal = record.signal
            changed = (
                signal / np.maximum(np.nanstd(signal, axis=1, keepdims=True), 1e-9)
                if isinstance(change, str)
                else signal * change
            )
            found[change] += is_doubted(replace(record, signal=changed))
    assert count > 600
    assert len(doubted) <= 0.02 * count, doubted
    assert min(found.values()) >= 0.95 * count, found


@pytest.mark.parametrize("lead", ["I", "aVR", "V2"])
def test_a_single_lead_may_have_any_axis(lead):
    row = STANDARD_LEADS.index(lead)
    assert not doubts(RECORD.signal[[row]], [lead])
    assert doubts(RECORD.signal[[row]] * 10, [lead])


def test_doubts_do_not_depend_on_the_rate():
    slow = cgdmer.simulate_record(["sinus_rhythm"], seed=3, sampling_rate=100)
    for factor in (0.1, 1, 10):
        fast = EXTRACTOR.use_of(replace(RECORD, signal=factor * RECORD.signal)).doubts
        assert bool(EXTRACTOR.use_of(replace(slow, signal=factor * slow.signal)).doubts) is bool(fast)


def test_a_contradiction_is_a_warning_too_and_training_looks_for_nothing_else():
    with pytest.warns(ECGInputWarning, match="I and II seem to be exchanged"):
        EXTRACTOR(replace(RECORD, signal=RECORD.signal[[1, 0, *range(2, 12)]]))
    assert EXTRACTOR(replace(RECORD, signal=RECORD.signal * 10)).record_use[0].doubts == ()
    assert EXTRACTOR(replace(RECORD, signal=RECORD.signal * 10), windows=True).record_use[0].doubts


def test_answers_say_it(tmp_path, capsys):
    write_wfdb(replace(RECORD, signal=RECORD.signal * 10), tmp_path / "recordings" / "high")
    write_wfdb(RECORD, tmp_path / "recordings" / "plain")
    assert main(["classify", str(tmp_path / "recordings" / "high"), "--labels", "AF", "--json"]) == 0
    assert "times as high" in json.loads(capsys.readouterr().out)["record_use"]["doubts"][0]
    table = tmp_path / "scores.parquet"
    assert main(["score", str(tmp_path / "recordings"), str(table), "--labels", "AF", "broken leg"]) == 0
    rows = pyarrow.parquet.read_table(table).to_pylist()
    assert "times as high" in rows[0]["doubts"] and rows[1]["doubts"] == ""
    assert 0 < rows[0]["AF"] < 1 and rows[0]["broken leg"] is None
    field = pyarrow.parquet.read_schema(table).field("AF")
    assert json.loads(field.metadata[b"cgdmer"])["finding"] == "atrial fibrillation"
    assert "Not known to the model, so without scores: broken leg" in capsys.readouterr().out
