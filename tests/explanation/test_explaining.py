# SPDX-License-Identifier: Apache-2.0
"""The window, leads, and score that are explained, and relevance where the abnormality was put."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import relevance as benchmark
import torch
from scipy import stats

from cgdmer import CGDMERECGModel, CGDMERModel
from cgdmer.explanation.explaining import explain_record
from cgdmer.inference.scorers import load_scorer
from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import ConfigurationError, ECGInputError, ModelFolderError
from cgdmer.models.leads import STANDARD_LEADS
from cgdmer.presets import SHIPPED_MODEL
from cgdmer.simulation.cohort import simulate_record

LABEL = "premature ventricular beats"


def joined(*records: ECGRecord) -> ECGRecord:
    return replace(records[0], signal=np.concatenate([record.signal for record in records], axis=1))


@pytest.fixture(scope="module")
def calm():
    return simulate_record(["sinus_rhythm"], seed=4, sampling_rate=100)


@pytest.fixture(scope="module")
def premature():
    return simulate_record(["premature_ventricular_beats"], seed=4, sampling_rate=100)


@pytest.fixture(scope="module")
def explanation(classify, premature):
    return explain_record(classify, premature, LABEL)


def test_explains_the_score_that_the_pipeline_gives(classify, premature, explanation):
    (row,) = classify(premature, [LABEL])
    assert explanation.score == pytest.approx(row["score"], rel=1e-5)
    assert explanation.window_score == explanation.score
    assert (explanation.num_windows, explanation.start_seconds, explanation.patch_seconds) == (1, 0.0, 0.4)
    np.testing.assert_array_equal(explanation.window.signal, premature.signal)
    two_seconds = [one.reshape(12, 5, 5).sum(axis=2).ravel() for one in (explanation.relevance, explanation.occlusion)]
    rho = stats.spearmanr(*two_seconds).statistic
    assert explanation.agreement == pytest.approx(rho)


def test_the_order_of_leads_and_their_spelling_do_not_matter(classify, premature, explanation):
    order = [11, 3, 0, 7, 1, 2, 10, 4, 6, 5, 9, 8]
    names = tuple(STANDARD_LEADS[row].upper() for row in order)
    turned = explain_record(classify, replace(premature, signal=premature.signal[order], lead_names=names), LABEL)
    np.testing.assert_array_equal(turned.relevance, explanation.relevance)
    np.testing.assert_array_equal(turned.window.signal, explanation.window.signal)


def test_a_long_recording_is_explained_where_its_score_is_highest(classify, calm, premature, explanation):
    long = joined(calm, premature, calm)
    found = explain_record(classify, long, LABEL)
    assert (found.num_windows, found.start_seconds) == (3, 10.0)
    np.testing.assert_array_equal(found.window.signal, premature.signal)
    np.testing.assert_allclose(found.relevance, explanation.relevance, rtol=1e-3, atol=1e-4)
    (row,) = classify(long, [LABEL])
    assert found.score == pytest.approx(row["score"], rel=1e-5)
    assert found.score < found.window_score == pytest.approx(explanation.score, rel=1e-4)


@pytest.mark.parametrize("fill", [np.nan, 0.0])
def test_the_last_window_ends_with_the_recording_and_a_silent_beginning_is_left_out(classify, calm, premature, fill):
    silent = np.full((12, 150), fill, dtype=np.float32)
    half = replace(calm, signal=calm.signal[:, :500])
    signal = np.concatenate([silent, half.signal, calm.signal, premature.signal], axis=1)
    found = explain_record(classify, replace(calm, signal=signal), LABEL)
    assert (found.num_windows, found.start_seconds) == (3, pytest.approx(1.5 + 15.0))
    np.testing.assert_array_equal(found.window.signal, premature.signal)
    (row,) = classify(replace(calm, signal=signal), [LABEL])
    assert found.score == pytest.approx(row["score"], rel=1e-5)


def test_the_last_window_ends_with_the_recording_at_another_rate_too(classify):
    calm, premature = (
        simulate_record([name], seed=4, sampling_rate=500, duration=10.0)
        for name in ("sinus_rhythm", "premature_ventricular_beats")
    )
    long = joined(calm, premature)
    long = replace(long, signal=long.signal[:, 1233:])  # 17.534 s, not a whole number of samples at 100 Hz
    found = explain_record(classify, long, LABEL)
    assert (found.num_windows, found.start_seconds) == (2, pytest.approx(7.54))
    np.testing.assert_array_equal(found.window.signal, premature.signal)


def test_leads_that_were_not_recorded_have_no_relevance_and_limb_leads_are_derived(classify, premature):
    rows = [0, 1, 6]
    found = explain_record(
        classify, replace(premature, signal=premature.signal[rows], lead_names=("I", "II", "V1")), LABEL
    )
    assert found.window.lead_names == STANDARD_LEADS[:7]
    np.testing.assert_allclose(found.window.signal[2], premature.signal[1] - premature.signal[0], atol=1e-6)
    assert found.present[:7].all() and not found.present[7:].any()
    assert (found.relevance[:7] != 0).all() and not found.relevance[7:].any() and not found.occlusion[7:].any()
    assert set(found.share_by_lead()) <= set(STANDARD_LEADS[:7])
    assert sum(found.share_by_lead().values()) == pytest.approx(1)


def test_a_short_recording_has_no_relevance_beyond_its_end(classify, premature):
    found = explain_record(classify, replace(premature, signal=premature.signal[:, :460]), LABEL)
    assert found.window.signal.shape == (12, 460) and found.as_json()["window"]["seconds"] == 4.6
    assert found.present[:, :11].all() and not found.present[:, 11:].any() and not found.relevance[:, 11:].any()


def test_json_holds_the_figures_and_no_signal(explanation):
    answer = json.loads(json.dumps(explanation.as_json()))
    np.testing.assert_allclose(answer["relevance"], explanation.relevance)
    assert answer["leads"] == list(STANDARD_LEADS) and answer["window"]["of"] == 1
    assert "Not a medical device" in answer["note"] and "signal" not in answer


def test_many_windows_go_through_the_model_a_few_at_a_time(classify, calm, premature):
    sizes = []
    hook = classify.model.ecg_model.register_forward_hook(lambda *call: sizes.append(len(call[-1].pooler_output)))
    try:
        found = explain_record(classify, joined(*[calm] * 44, premature, calm), LABEL)
    finally:
        hook.remove()
    assert max(sizes) <= 20 and sizes[:3] == [20, 20, 6]
    assert (found.num_windows, found.start_seconds) == (46, 440.0)
    (row,) = classify(joined(*[calm] * 44, premature, calm), [LABEL])
    assert found.score == pytest.approx(row["score"], rel=1e-5)


def test_a_model_in_half_precision_is_explained_in_single(classify, premature, explanation, tmp_path):
    model = copy.deepcopy(classify.model).half()
    model.save_pretrained(tmp_path)
    classify.pipeline.processor.save_pretrained(tmp_path)
    half = load_scorer(str(tmp_path))
    assert half.model.dtype == torch.float16
    found = explain_record(half, premature, LABEL)
    assert len(np.unique(found.occlusion)) == 60  # one per piece; half precision would round many to the same
    np.testing.assert_allclose(found.relevance, explanation.relevance, atol=0.02 * np.abs(explanation.relevance).max())
    assert found.agreement == pytest.approx(explanation.agreement, abs=0.02)
    assert half.model.dtype == torch.float16  # the caller's own


def test_what_cannot_be_explained_is_refused_by_name(classify, premature, tmp_path):
    with pytest.raises(ECGInputError, match="empty or not a text"):
        explain_record(classify, premature, "  ")
    CGDMERECGModel(CGDMERModel.from_pretrained(SHIPPED_MODEL).config.ecg_config).save_pretrained(tmp_path)
    with pytest.raises(ModelFolderError, match="takes no texts"):
        load_scorer(str(tmp_path))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(ConfigurationError, match="device is 'cuda', but torch finds no GPU"):
        load_scorer(device="cuda")


def test_relevance_lies_on_premature_beats(classify):
    """With the model that comes with the package, which knows them."""
    figures = benchmark.measure(classify, "premature_ventricular_beats", 8, ("integrated gradients",))
    assert figures["knows"] > 0.95 and figures["chance"] < 0.4
    assert figures["integrated gradients"]["mean_share"] > 1.8 * figures["chance"]


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_the_window_is_what_the_model_had_where_a_lead_is_dead_or_has_a_gap(classify, premature, value):
    """A flat limb lead is derived from others, and a short gap is interpolated."""
    signal = premature.signal.copy()
    signal[2] = value
    signal[7, 100:105] = np.nan
    found = explain_record(classify, replace(premature, signal=signal), LABEL)
    assert found.window.lead_names == STANDARD_LEADS
    np.testing.assert_allclose(found.window.signal[2], premature.signal[1] - premature.signal[0], atol=1e-6)
    gap = np.interp(np.arange(100, 105), [99, 105], premature.signal[7, [99, 105]])
    np.testing.assert_allclose(found.window.signal[7, 100:105], gap, atol=1e-6)
    signal[8] = value  # which no other lead determines
    without = explain_record(classify, replace(premature, signal=signal), LABEL)
    assert "V3" not in without.window.lead_names and not without.present[8].any()


@pytest.mark.slow
def test_relevance_lies_in_the_leads_with_st_elevation(trained_demo):
    """With a model trained only on simulated patients; `benchmarks/relevance.py` measures the shipped one."""
    folder, _ = trained_demo
    classify = load_scorer(str(folder / "model"))
    right = []
    for condition in benchmark.TERRITORIES:
        figures = benchmark.measure(classify, condition, 25, ("integrated gradients",))
        assert figures["knows"] > 0.85
        assert figures["integrated gradients"]["mean_share"] > 2 * figures["chance"]
        right.append(figures["integrated gradients"]["more_than_half"])
    assert np.mean(right) >= 0.8
