# SPDX-License-Identifier: Apache-2.0
"""What a feature extractor says about what it used: right values for planted faults, and it survives every hand."""

import copy
import json
import pickle
import warnings

import numpy as np
import pytest
import torch
from transformers import BatchFeature

from cgdmer.models.ecg_record import ECGRecord, keep_leads
from cgdmer.models.errors import ECGInputError, ECGInputWarning
from cgdmer.models.feature_extraction_ecg import ECGFeatureExtractor
from cgdmer.models.leads import STANDARD_LEADS
from cgdmer.models.record_use import RecordUse
from cgdmer.simulation.cohort import simulate_record

CHEST = STANDARD_LEADS[6:]
RATE = 500


def record_with(*faults: tuple[str, slice, float], seconds: float = 10.0, leads=STANDARD_LEADS) -> ECGRecord:
    """A simulated record in which (lead, where, value) are planted."""
    record = simulate_record(["sinus_rhythm"], seed=1, duration=seconds)
    signal = record.signal.copy()
    for lead, where, value in faults:
        signal[STANDARD_LEADS.index(lead), where] = value
    return ECGRecord(signal[[STANDARD_LEADS.index(lead) for lead in leads]], float(RATE), tuple(leads))


def seconds(start: float, end: float) -> slice:
    return slice(round(start * RATE), round(end * RATE))


EVERYWHERE = slice(None)


@pytest.fixture(scope="module")
def extract() -> ECGFeatureExtractor:
    return ECGFeatureExtractor()


def use_of(extract, record, **options) -> RecordUse:
    (use,) = extract(record, **options).record_use
    return use


def test_a_whole_recording(extract):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        use = use_of(extract, record_with())
    assert use == RecordUse(STANDARD_LEADS, {}, {}, 10.0, {}, {})
    assert use.is_everything and str(use) == "All twelve leads were used."


def test_each_reason(extract):
    record = record_with(
        ("V1", EVERYWHERE, 0.0),
        ("V2", seconds(3, 5.4), np.nan),
        ("V3", seconds(0, 7.5), np.nan),
        ("V4", EVERYWHERE, np.nan),
        ("V5", seconds(2, 2.4), np.nan),
        ("V5", seconds(5, 5.1), np.nan),
        ("aVF", EVERYWHERE, 0.3),
    )
    message = (
        r"the recording has leads that are not used: aVF, V1 \(flat\); V2 \(gap of 2\.4 s\); V3 \(75 % missing\); "
        r"V4 \(100 % missing\)\. Computed from two others instead: aVF\."
    )
    with pytest.warns(ECGInputWarning, match=message) as caught:
        use = use_of(extract, record)
    assert caught[0].filename == __file__
    assert use.leads_used == ("I", "II", "III", "aVR", "aVL", "V5", "V6")
    assert use.leads_derived == {"aVF": "flat"}
    assert use.leads_not_used == {"V1": "flat", "V2": "gap of 2.4 s", "V3": "75 % missing", "V4": "100 % missing"}
    assert use.seconds_filled == {"V5": pytest.approx(0.5)}
    assert use.seconds_used == 10 and use.seconds_cut == {} and not use.is_everything
    assert list(use.refused_leads) == ["aVF", "V1", "V2", "V3", "V4"]
    assert use.sentences() == [
        "Leads used: I, II, III, aVR, aVL, V5, V6.",
        "Derived from two of them: aVF (flat).",
        "Not used: V1 (flat); V2 (gap of 2.4 s); V3 (75 % missing); V4 (100 % missing).",
        "Missing samples interpolated: V5 0.5 s.",
    ]


def test_leads_that_were_not_given_are_no_reason_to_warn(extract):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        use = use_of(extract, record_with(leads=["V2", "II", "I"]))
    assert use.leads_used == ("I", "II", "V2")
    assert use.leads_derived == dict.fromkeys(("III", "aVR", "aVL", "aVF"), "not given")
    assert use.leads_not_used == dict.fromkeys((lead for lead in CHEST if lead != "V2"), "not given")
    assert use.refused_leads == {}
    alone = use_of(ECGFeatureExtractor(derive_limb_leads=False), record_with(leads=["I", "II"]))
    assert alone.leads_derived == {} and len(alone.leads_not_used) == 10


def test_leads_derived_before_are_derived(extract):
    """By `keep_leads` here, as in readers; those that were asked for again keep their kind."""
    record = record_with(leads=("I", "II", *CHEST))
    kept = keep_leads(record, ["III", "II", "aVF", "V1"])
    assert kept.derived_leads == ("III", "aVF")
    use = use_of(extract, kept)
    assert use.leads_used == ("II", "V1")
    assert set(use.leads_derived) == {"I", "III", "aVR", "aVL", "aVF"} and not use.refused_leads
    assert extract.use_of(kept).leads_derived == use.leads_derived
    again = keep_leads(kept, ["aVF", "V1"])
    assert again.derived_leads == ("aVF",) and use_of(extract, again).leads_used == ("V1",)


def test_paper_layout_of_three_rows_and_four_columns(extract):
    """2.5 s of each lead, and lead II throughout."""
    faults = []
    for number, lead in enumerate(STANDARD_LEADS):
        if lead != "II":
            start = 2.5 * (number // 3)
            faults += [(lead, seconds(0, start), np.nan), (lead, seconds(start + 2.5, 10), np.nan)]
    with pytest.warns(ECGInputWarning, match=r"I, III, aVR.*V6 \(75 % missing\)"):
        use = use_of(extract, record_with(*faults))
    assert use.leads_used == ("II",) and use.leads_derived == {}
    assert use.leads_not_used == {lead: "75 % missing" for lead in STANDARD_LEADS if lead != "II"}


def test_what_is_cut_off(extract):
    signal = record_with().signal
    filled = np.concatenate([np.full((12, 500), np.nan), signal, np.zeros((12, 1000))], axis=1)
    use = use_of(extract, ECGRecord(filled, 500.0, STANDARD_LEADS))
    assert use.seconds_cut == {"filled end": 3.0} and use.seconds_used == 10
    pulse = np.repeat([0.0, 1.0, 0.0], 100)
    both = np.concatenate([signal, np.broadcast_to(pulse, (12, 300)), np.full((12, 700), np.nan)], axis=1)
    use = use_of(extract, ECGRecord(both, 500.0, STANDARD_LEADS))
    assert use.seconds_cut == {"filled end": 1.4, "calibration pulse": 0.6}
    assert use.sentences()[-1] == "Cut off: 1.4 s (filled end), 0.6 s (calibration pulse)."


def test_windows(extract):
    long = record_with(seconds=25)
    assert use_of(extract, long, windows=True) == RecordUse(STANDARD_LEADS, {}, {}, 25.0, {}, {})
    with pytest.warns(ECGInputWarning, match="only the first 10 s are used"):
        use = use_of(extract, long)
    assert use.seconds_used == 10 and use.seconds_cut == {"beyond the window": 15.0}
    use = use_of(extract, record_with(seconds=7.43))  # patches of 0.1 s
    assert use.seconds_used == pytest.approx(7.4) and use.seconds_cut == {"rest of a patch": pytest.approx(0.03)}
    for record in (long, record_with(seconds=7.43), record_with(("V1", EVERYWHERE, 0.0), leads=["I", "V1"])):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            said = extract.use_of(record)
        assert said == extract(record, windows=True).record_use[0]
    with pytest.raises(ECGInputError, match="nothing is left"):
        extract.use_of(record_with(*((lead, seconds(2, 5), np.nan) for lead in STANDARD_LEADS)))


def test_one_for_each_recording(extract):
    flat = record_with(("V1", EVERYWHERE, 0.0))
    with pytest.warns(ECGInputWarning, match=r"^recording 1 of 2 has leads that are not used: V1 \(flat\)\.$"):
        batch = extract([record_with(), flat], windows=True)
    assert [use.leads_not_used for use in batch.record_use] == [{}, {"V1": "flat"}]


def test_it_is_an_attribute_and_no_key(extract, tiny_processor):
    record = record_with(("V1", EVERYWHERE, 0.0))
    for batch in (
        extract(record, return_tensors="pt"),
        tiny_processor(ecg=record, text=["sinus rhythm"], return_tensors="pt"),
    ):
        assert isinstance(batch, BatchFeature) and "record_use" not in batch and "record_use" not in dict(**batch)
        for kept in (batch, batch.to(torch.bfloat16), copy.copy(batch), pickle.loads(pickle.dumps(batch))):
            assert [use.leads_not_used for use in kept.record_use] == [{"V1": "flat"}]
            assert kept["ecg_values"].dtype == torch.bfloat16 or kept is not batch
    assert tiny_processor(text=["sinus rhythm"]).record_use == ()


def test_json(extract):
    use = use_of(extract, record_with(("V1", EVERYWHERE, 0.0), ("V2", seconds(1, 1.5), np.nan)))
    assert json.loads(json.dumps(use.as_json())) == {
        "leads_used": [lead for lead in STANDARD_LEADS if lead != "V1"],
        "leads_derived": {},
        "leads_not_used": {"V1": "flat"},
        "seconds_used": 10.0,
        "seconds_filled": {"V2": 0.5},
        "seconds_cut": {},
        "doubts": [],
    }
