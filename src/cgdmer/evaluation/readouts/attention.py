# SPDX-License-Identifier: Apache-2.0
"""Attention of one learned query to an encoder's tokens, and a linear classifier of what it finds.

A query of zeros weighs all tokens equally, which is their mean: training starts there, with the classifier of a linear
probe. With one query, keys and values need no maps of their own: these would be further factors of the query and of
the classifier.

Shapes: R records, B windows of a batch, K tokens, D width, C classes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from cgdmer.evaluation.linear_probe import fit_linear_probe
from cgdmer.evaluation.readouts.readout import LabeledFeatures, Readout, chosen_on_others
from cgdmer.evaluation.statistics import auroc_by_column
from cgdmer.inference.embeddings import RecordFeatures
from cgdmer.inference.token_files import RecordTokens

STEPS = 1000  # of training, each on a batch
STEPS_BETWEEN = 50  # after which the weights are measured on validation records
_BATCH_SIZE = 64
_LEARNING_RATE = 1e-2  # at first; it falls to 0 in a line
_RECORDS_FOR_MEAN = 1000  # by which tokens are standardized: all would be one more pass over the file


class Weights(NamedTuple):
    """What is learned."""

    query_D: torch.Tensor
    classifier_CD: torch.Tensor
    bias_C: torch.Tensor

    def logits(self, tokens_BKD: torch.Tensor, mask_BK: torch.Tensor) -> torch.Tensor:
        """(B, C)"""
        similarity_BK = tokens_BKD @ self.query_D / len(self.query_D) ** 0.5
        attention_BK = similarity_BK.masked_fill(~mask_BK, -torch.inf).softmax(dim=1)
        found_BD = (attention_BK[:, None] @ tokens_BKD).squeeze(1)
        return F.linear(found_BD, self.classifier_CD, self.bias_C)


@dataclass(frozen=True)
class FittedAttention:
    """Learned weights, and the mean and deviation (D,) by which tokens are standardized before."""

    mean_D: torch.Tensor
    deviation_D: torch.Tensor
    weights: Weights = field(repr=False)
    steps: int

    @property
    def chosen(self) -> Mapping[str, float]:
        return {"steps": self.steps}

    def copied(self, steps: int) -> "FittedAttention":
        """As the weights are now."""
        return replace(self, weights=Weights(*(weight.detach().clone() for weight in self.weights)), steps=steps)

    @torch.no_grad()
    def scores(self, features: RecordFeatures) -> np.ndarray:
        """(R, C) log odds, for a long record the mean over its windows; each moment counts once."""
        tokens = _tokens(features)
        spans = tokens.spans.tolist()
        windows = np.array([window for first, end in spans for window in range(first, end)])
        record_of = torch.tensor([row for row, (first, end) in enumerate(spans) for _ in range(first, end)])
        logits_RC = torch.zeros(len(tokens), len(self.weights.bias_C))
        for start in range(0, len(windows), _BATCH_SIZE):
            batch = windows[start : start + _BATCH_SIZE]
            logits_BC = self.weights.logits(*self.standardized(tokens, batch))
            parts_B1 = torch.from_numpy(tokens.windows["weight"][batch])[:, None]
            logits_RC.index_add_(0, record_of[start : start + _BATCH_SIZE], parts_B1 * logits_BC)
        return logits_RC.numpy()

    def standardized(self, tokens: RecordTokens, windows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens (B, K, D), and (B, K) bool, False for padding."""
        values_BKD, mask_BK = tokens.batch(windows)
        return (values_BKD - self.mean_D) / self.deviation_D, mask_BK


class Attention(Readout):
    """Trained with AdamW on binary cross-entropy for the number of steps, from none on, that is best on other records.

    On the CPU with draws of its own, so it has the same bits on every run on a machine. Only a batch of tokens is in
    memory. Each step sees one window of each record in its batch, drawn in proportion to what the window adds.
    """

    measure = "attention probe"
    further = ("tokens",)
    repeated = False  # each draw would take as long as all records

    def fit(
        self, training: LabeledFeatures, validation: LabeledFeatures | None = None, seed: int = 0
    ) -> FittedAttention:
        def best(fitted_to: LabeledFeatures, others: LabeledFeatures) -> FittedAttention:
            def macro_auroc(fitted: FittedAttention) -> float:
                return float(np.nanmean(auroc_by_column(others.labels, fitted.scores(others.features))))

            return max(_course(fitted_to, seed, STEPS), key=macro_auroc)

        found = chosen_on_others(training, validation, seed, best, usual=None)
        if found is not None and validation is not None:
            return found
        *_, last = _course(training, seed, 0 if found is None else found.steps)
        return last


def _course(training: LabeledFeatures, seed: int, steps: int) -> Iterator[FittedAttention]:
    """The weights before the first step, and after every `STEPS_BETWEEN`."""
    tokens, labels_RC = _tokens(training.features), torch.from_numpy(training.labels).float()
    random = np.random.default_rng(seed)
    mean_D, deviation_D = _mean_and_deviation(tokens, random)
    probe = fit_linear_probe(training.features.pooled, training.labels, training.patients, seed=seed)
    of_raw_CD = torch.from_numpy(probe.weights)
    bias_C = torch.from_numpy(probe.biases) + of_raw_CD @ mean_D
    weights = Weights(torch.zeros(tokens.width), of_raw_CD * deviation_D, bias_C)
    for weight in weights:
        weight.requires_grad_()
    optimizer = torch.optim.AdamW(weights, lr=_LEARNING_RATE)
    fitted = FittedAttention(mean_D, deviation_D, weights, 0)
    yield fitted.copied(0)
    for step, rows in enumerate(_batches(len(tokens), steps, random), 1):
        optimizer.param_groups[0]["lr"] = _LEARNING_RATE * (1 - (step - 1) / STEPS)
        windows = np.array([_drawn_window(tokens, row, random) for row in rows])
        with torch.enable_grad():
            logits_BC = weights.logits(*fitted.standardized(tokens, windows))
            optimizer.zero_grad()
            F.binary_cross_entropy_with_logits(logits_BC, labels_RC[rows]).backward()
        optimizer.step()
        if step % STEPS_BETWEEN == 0:
            yield fitted.copied(step)


def _batches(count: int, steps: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    """The numbers of the records in each batch; no record comes again before all others have."""
    waiting = np.zeros(0, dtype=np.int64)
    for _ in range(steps):
        while len(waiting) < min(_BATCH_SIZE, count):
            waiting = np.concatenate([waiting, random.permutation(count)])
        yield waiting[:_BATCH_SIZE]
        waiting = waiting[_BATCH_SIZE:]


def _drawn_window(tokens: RecordTokens, row: int, random: np.random.Generator) -> int:
    first, end = tokens.spans[row]
    if end - first == 1:
        return int(first)
    shares = tokens.windows["weight"][first:end].astype(np.float64)
    return int(random.choice(np.arange(first, end), p=shares / shares.sum()))


def _mean_and_deviation(tokens: RecordTokens, random: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """(D,) each, over the tokens of a window each of some records."""
    rows = random.permutation(len(tokens))[:_RECORDS_FOR_MEAN]
    windows = np.array([_drawn_window(tokens, row, random) for row in rows])
    count, sum_D, squares_D = 0, torch.zeros(tokens.width).double(), torch.zeros(tokens.width).double()
    for start in range(0, len(windows), _BATCH_SIZE):
        values_BKD, mask_BK = tokens.batch(windows[start : start + _BATCH_SIZE])
        values = values_BKD[mask_BK].double()
        count += len(values)
        sum_D += values.sum(dim=0)
        squares_D += values.square().sum(dim=0)
    mean_D = sum_D / count
    deviation_D = (squares_D / count - mean_D.square()).clamp(min=0).sqrt()
    return mean_D.float(), deviation_D.float().clamp(min=1e-8)


def _tokens(features: RecordFeatures) -> RecordTokens:
    assert features.tokens is not None  # asked for
    return features.tokens
