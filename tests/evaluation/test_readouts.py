# SPDX-License-Identifier: Apache-2.0
"""Each readout against a naive reference, and what it chooses on which records."""

import math
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from cgdmer.evaluation.linear_probe import fit_linear_probe
from cgdmer.evaluation.readouts import attention
from cgdmer.evaluation.readouts.attention import Attention, FittedAttention, Weights
from cgdmer.evaluation.readouts.mean import Mean
from cgdmer.evaluation.readouts.nearest_neighbors import COUNTS, NearestNeighbors
from cgdmer.evaluation.readouts.per_lead import PerLead
from cgdmer.evaluation.readouts.readout import LabeledFeatures
from cgdmer.inference.embeddings import RecordFeatures
from cgdmer.inference.token_files import RecordTokens, TokenWriter, read_tokens

WIDTH = 6


def patients_of(count: int) -> list[str]:
    return [str(number // 2) for number in range(count)]


def labeled(features: RecordFeatures, labels: np.ndarray) -> LabeledFeatures:
    return LabeledFeatures(features, labels, patients_of(len(labels)))


# The mean, and means per lead.


def test_the_mean_is_a_linear_probe_of_the_vector_that_was_asked_for():
    random = np.random.default_rng(0)
    vectors = random.normal(size=(2, 90, WIDTH)).astype(np.float32)
    labels = vectors[1, :, :2] > 0
    both = labeled(RecordFeatures(pooled=vectors[0], embeds=vectors[1]), labels)
    training, validation = both[np.arange(60)], both[np.arange(60, 90)]
    for name, mine in zip(("pooled", "embeds"), vectors, strict=True):
        expected = fit_linear_probe(mine[:60], labels[:60], patients_of(60), (mine[60:], labels[60:]))
        fitted = Mean(name).fit(training, validation)
        np.testing.assert_array_equal(fitted.scores(validation.features), expected.scores(mine[60:]))
        assert fitted.chosen == {"regularization": expected.strength}


def per_lead_sample(records: int = 300, seed: int = 0) -> LabeledFeatures:
    """The label is in one number of one lead, and the sign of the same number of another lead is the opposite."""
    random = np.random.default_rng(seed)
    leads = random.normal(size=(records, 12, WIDTH)).astype(np.float32) * 3 + 7
    labels = leads[:, [4, 5], 2] > 7
    leads[:, 8, 2] = 14 - leads[:, 4, 2]
    leads[random.random((records, 12)) < 0.2] = np.nan
    leads[:, 11] = np.nan
    return labeled(RecordFeatures(np.nanmean(leads, axis=1), per_lead=leads), labels)


def naive_standardized(training: np.ndarray, leads: np.ndarray) -> np.ndarray:
    rows = np.zeros((len(leads), 12 * WIDTH))
    for lead in range(12):
        present = [row[lead] for row in training if not np.isnan(row[lead, 0])]
        for record, row in enumerate(leads):
            if present and not np.isnan(row[lead, 0]):
                place = slice(lead * WIDTH, (lead + 1) * WIDTH)
                rows[record, place] = (row[lead] - np.mean(present, axis=0)) / np.std(present, axis=0)
    return rows


def test_a_probe_per_lead_is_a_logistic_regression_with_zeros_for_absent_leads():
    training, test = per_lead_sample(), per_lead_sample(200, seed=1)
    fitted = PerLead().fit(training, per_lead_sample(100, seed=2))
    parts = [naive_standardized(training.features.per_lead, one.features.per_lead) for one in (training, test)]
    scale = np.where(parts[0].std(axis=0) > 0, parts[0].std(axis=0), 1.0)  # the probe standardizes again
    for column in range(2):
        model = LogisticRegression(C=fitted.chosen["regularization"], max_iter=1000)
        model.fit(parts[0] / scale, training.labels[:, column])
        expected = model.decision_function(parts[1] / scale)
        np.testing.assert_allclose(fitted.scores(test.features)[:, column], expected, rtol=1e-3, atol=2e-3)
    assert roc_auc_score(test.labels, fitted.scores(test.features)) > 0.9
    assert roc_auc_score(test.labels, Mean().fit(training).scores(test.features)) < 0.75, "what the mean does not see"


def test_a_lead_that_no_training_record_has_says_nothing():
    training, test = per_lead_sample(), per_lead_sample(50, seed=1)
    fitted = PerLead().fit(training)
    before = fitted.scores(test.features)
    test.features.per_lead[:, 11] = 5.0
    np.testing.assert_array_equal(fitted.scores(test.features), before)


# Nearest neighbors.


def neighbors_sample(records: int = 300, seed: int = 0, noise: float = 1.0) -> LabeledFeatures:
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(records, WIDTH))
    labels = vectors[:, :3] + noise * random.normal(size=(records, 3)) > 0.3
    return labeled(RecordFeatures((vectors * np.logspace(-2, 2, WIDTH) + 5).astype(np.float32)), labels)


def naive_votes(training: LabeledFeatures, test: np.ndarray, count: int) -> np.ndarray:
    known = training.features.pooled
    mean, deviation = known.mean(axis=0), known.std(axis=0)
    scores = []
    for one in (test - mean) / deviation:
        cosines = []
        for other in (known - mean) / deviation:
            cosines.append(one @ other / math.sqrt((one @ one) * (other @ other)))
        nearest = np.argsort(cosines)[::-1][:count]
        weights = np.array([math.exp(cosines[row] / 0.07) for row in nearest])
        scores.append(sum(w * training.labels[row] for w, row in zip(weights, nearest, strict=True)) / weights.sum())
    return np.array(scores)


def test_neighbors_vote_by_their_cosine():
    training, test = neighbors_sample(), neighbors_sample(40, seed=1)
    fitted = NearestNeighbors().fit(training, neighbors_sample(100, seed=2))
    count = fitted.chosen["neighbors"]
    assert count in COUNTS
    np.testing.assert_allclose(
        fitted.scores(test.features), naive_votes(training, test.features.pooled, count), rtol=1e-3, atol=1e-5
    )


def test_the_number_of_neighbors_is_the_best_on_the_validation_records():
    training, validation = neighbors_sample(), neighbors_sample(150, seed=2)
    areas = [
        roc_auc_score(validation.labels, naive_votes(training, validation.features.pooled, count)) for count in COUNTS
    ]
    best = COUNTS[int(np.argmax(areas))]
    assert NearestNeighbors().fit(training, validation).chosen == {"neighbors": best}
    exact = LabeledFeatures(training.features, training.labels, training.patients)
    assert NearestNeighbors().fit(training, exact).chosen == {"neighbors": 5}, "each record is its own neighbor"


def test_few_training_records_all_vote():
    training, test = neighbors_sample(12), neighbors_sample(20, seed=1)
    fitted = NearestNeighbors().fit(training)  # of six patients: nothing is held out
    np.testing.assert_allclose(
        fitted.scores(test.features), naive_votes(training, test.features.pooled, 12), rtol=1e-3, atol=1e-5
    )


# Attention.


def tokens_in(path: Path, windows: list[tuple[int, np.ndarray, float]], records: int) -> RecordTokens:
    """A file of windows (record, tokens, weight)."""
    with TokenWriter(path) as writer:
        for _, values, _ in windows:
            writer.add(torch.from_numpy(values)[None], torch.ones(1, len(values), dtype=torch.bool))
        writer.finish(np.array([record for record, _, _ in windows]), np.array([weight for *_, weight in windows]))
    found = read_tokens(path, records, WIDTH)
    assert found is not None
    return found


def attention_sample(folder: Path, records: int = 256, seed: int = 0) -> LabeledFeatures:
    """One of 8 to 12 tokens is marked by its first number; its second number decides. The others' are larger."""
    random = np.random.default_rng(seed)
    windows, labels = [], []
    for record in range(records):
        values = random.normal(size=(random.integers(8, 13), WIDTH)).astype(np.float32)
        values[:, 1] *= 3
        marked = random.integers(len(values))
        values[:, 0], values[marked, 0] = -1, 4
        labels.append([values[marked, 1] > 0, values[marked, 1] > 1])
        windows.append((record, values, 1.0))
    pooled = np.stack([values.mean(axis=0) for _, values, _ in windows])
    tokens = tokens_in(folder / f"tokens {records} {seed}", windows, records)
    return labeled(RecordFeatures(pooled, tokens=tokens), np.array(labels))


def naive_logits(fitted: FittedAttention, tokens: np.ndarray) -> np.ndarray:
    """Of one window, in double precision."""
    query, classifier, bias = (weight.double().numpy() for weight in fitted.weights)
    standardized = (tokens - fitted.mean_D.double().numpy()) / fitted.deviation_D.double().numpy()
    similar = [math.exp(token @ query / math.sqrt(WIDTH)) for token in standardized]
    found = sum(weight * token for weight, token in zip(similar, standardized, strict=True)) / sum(similar)
    return classifier @ found + bias


def test_scores_are_the_mean_of_the_windows_logits_by_what_each_adds(tmp_path):
    random = np.random.default_rng(3)
    lengths = [(0, 4, 1.0), (2, 7, 0.6), (2, 3, 0.3), (2, 5, 0.1), (3, 2, 1.0)]
    windows = [(record, random.normal(size=(n, WIDTH)).astype(np.float32), part) for record, n, part in lengths]
    tokens = tokens_in(tmp_path / "tokens", windows, 4)
    generator = torch.Generator().manual_seed(0)
    weights = Weights(*(torch.randn(*shape, generator=generator) for shape in ((WIDTH,), (2, WIDTH), (2,))))
    fitted = FittedAttention(torch.full((WIDTH,), 0.3), torch.full((WIDTH,), 1.7), weights, 0)
    rows = np.array([3, 2, 0])
    scores = fitted.scores(RecordFeatures(np.zeros((4, WIDTH)), tokens=tokens)[rows])
    for row, record in zip(scores, rows, strict=True):
        mine = [
            (part, naive_logits(fitted, values.astype(np.float16).astype(float)))
            for of, values, part in windows
            if of == record
        ]
        np.testing.assert_allclose(row, sum(part * logits for part, logits in mine), rtol=1e-4, atol=1e-5)


def test_it_starts_as_the_linear_probe_of_the_mean(tmp_path):
    training = attention_sample(tmp_path)
    start = next(iter(attention._course(training, 0, 0)))
    probe = fit_linear_probe(training.features.pooled, training.labels, training.patients)
    assert start.steps == 0 and not start.weights.query_D.any()
    expected = probe.scores(training.features.pooled)
    np.testing.assert_allclose(start.scores(training.features), expected, atol=0.02)  # half precision


def test_it_finds_the_token_that_decides(tmp_path):
    training, validation, test = (
        attention_sample(tmp_path, count, seed) for seed, count in enumerate((512, 128, 256))
    )
    of_mean = roc_auc_score(test.labels, Mean().fit(training, validation).scores(test.features))
    fitted = Attention().fit(training, validation)
    area = roc_auc_score(test.labels, fitted.scores(test.features))
    assert of_mean < 0.75 and area > 0.95, (of_mean, area)
    assert 0 < fitted.steps <= attention.STEPS
    again = roc_auc_score(test.labels, Attention().fit(training).scores(test.features))
    assert again > 0.95, "with the choice on held-out patients"


def test_it_has_the_same_bits_again_and_leaves_the_random_states_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(attention, "STEPS", 100)
    training, validation = attention_sample(tmp_path), attention_sample(tmp_path, 64, 1)
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    first = Attention().fit(training, validation, seed=3)
    assert torch.equal(torch.rand(2), expected)
    again, other = (Attention().fit(training, validation, seed=seed) for seed in (3, 4))
    for one, same, different in zip(first.weights, again.weights, other.weights, strict=True):
        assert torch.equal(one, same) and not torch.equal(one, different)


def test_the_steps_are_chosen_on_the_validation_records_which_are_not_fitted(tmp_path, monkeypatch):
    monkeypatch.setattr(attention, "STEPS", 200)
    training, other = attention_sample(tmp_path), attention_sample(tmp_path, 64, 1)
    course = list(attention._course(training, 0, 200))
    assert [one.steps for one in course] == [0, 50, 100, 150, 200]
    chosen = set()
    for one in course:
        labels = one.scores(other.features) > 0  # which its own scores rank perfectly
        areas = [roc_auc_score(labels, another.scores(other.features)) for another in course]
        wanted = course[int(np.argmax(areas))]
        found = Attention().fit(training, LabeledFeatures(other.features, labels, other.patients))
        assert found.steps == wanted.steps
        assert all(torch.equal(*pair) for pair in zip(found.weights, wanted.weights, strict=True))
        chosen.add(found.steps)
    assert len(chosen) > 2


def test_every_record_is_seen_equally_often_and_windows_by_what_they_add(tmp_path):
    batches = list(attention._batches(100, 50, np.random.default_rng(0)))
    assert {len(batch) for batch in batches} == {64}
    assert np.bincount(np.concatenate(batches)).min() == 50 * 64 // 100
    assert [len(batch) for batch in attention._batches(7, 3, np.random.default_rng(0))] == [7, 7, 7]
    values = np.zeros((1, WIDTH), dtype=np.float32)
    tokens = tokens_in(tmp_path / "tokens", [(0, values, 1.0), (1, values, 0.75), (1, values, 0.25)], 2)
    random = np.random.default_rng(0)
    assert attention._drawn_window(tokens, 0, random) == 0
    drawn = np.bincount([attention._drawn_window(tokens, 1, random) for _ in range(2000)], minlength=3)
    assert drawn[0] == 0 and abs(drawn[1] / 2000 - 0.75) < 0.05


def test_without_a_class_to_choose_by_it_is_the_probe(tmp_path):
    training, other = attention_sample(tmp_path), attention_sample(tmp_path, 64, 1)
    other.labels[:] = True
    assert Attention().fit(training, other).steps == 0
