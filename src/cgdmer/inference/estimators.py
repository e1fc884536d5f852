# SPDX-License-Identifier: Apache-2.0
"""scikit-learn estimators: a transformer that embeds recordings, and a classifier on the embeddings.

Shapes: n recordings, D width of the feature, K labels.
"""

import hashlib
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import MultiLabelBinarizer, StandardScaler
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import check_is_fitted
from transformers.utils import cached_file

from cgdmer.data.fingerprints import Fingerprints
from cgdmer.data.storage import DatasetRecords
from cgdmer.families import (
    Purpose,
    class_for,
    config_of,
    ecg_config_of,
    extractor_of,
    load_model,
    load_processor,
)
from cgdmer.inference.embedding_cache import weights_digest
from cgdmer.inference.embeddings import BATCH_SIZE, Records, embed_records
from cgdmer.inference.given_records import ArrayDescription, given_records
from cgdmer.inference.label_forms import are_lists_of_names, read_labels
from cgdmer.models.errors import ConfigurationError, ModelFolderError
from cgdmer.models.feature_extraction_ecg import ECGFeatureExtractor
from cgdmer.models.modeling_base import ECGPreTrainedModel
from cgdmer.models.modeling_classifier import ECGEncoderForClassification
from cgdmer.models.modeling_ecg_text import ECGTextModel
from cgdmer.presets import SHIPPED_MODEL, model_source

_FEATURES = ("pooled", "embeds")
_MODELS_KEPT = 2  # per process: a model may take gigabytes


@dataclass(frozen=True)
class _Encoder:
    """A model, its feature extractor, and a digest of the weights behind the pooled feature."""

    model: ECGPreTrainedModel
    feature_extractor: ECGFeatureExtractor
    digest: bytes


@lru_cache(maxsize=_MODELS_KEPT)
def _load(source: str, revision: str) -> _Encoder:
    """Load a folder or Hub id, once per process and `revision`."""
    model = load_model(source)
    extractor = extractor_of(load_processor(source, model))
    digest = weights_digest(model.base_model)
    return _Encoder(model.to("cuda" if torch.cuda.is_available() else "cpu"), extractor, digest)


def _revision(source: str) -> str:
    """A string that changes when the model's files do."""
    if not os.path.isdir(source):
        return str(cached_file(source, "config.json"))  # its path names the commit
    states = [(entry.name, entry.stat()) for entry in os.scandir(source) if entry.is_file()]
    return repr(sorted((name, state.st_mtime_ns, state.st_size) for name, state in states))


class _RecordingEstimator(BaseEstimator):
    """What both estimators share: the arguments, and how recordings are read."""

    def __init__(
        self,
        model: str | os.PathLike[str] = SHIPPED_MODEL.name,
        feature: str = "pooled",
        sampling_rate: float | None = None,
        lead_names: Sequence[str] | None = None,
        unit: str | None = None,
        batch_size: int = BATCH_SIZE,
        num_proc: int = 0,
    ):
        self.model = model
        self.feature = feature
        self.sampling_rate = sampling_rate
        self.lead_names = lead_names
        self.unit = unit
        self.batch_size = batch_size
        self.num_proc = num_proc

    def _records(self, X: Any) -> Records:
        return given_records(X, ArrayDescription(self.sampling_rate, self.lead_names, self.unit))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inputs = tags.input_tags
        inputs.two_d_array, inputs.one_d_array, inputs.three_d_array = False, True, True
        inputs.string = inputs.dict = True  # paths, rows of a dataset
        inputs.allow_nan = True  # a missing sample
        return tags


class ECGEmbedder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, _RecordingEstimator):
    """Turns each recording into the feature vector of a frozen model.

    Nothing is learned from the recordings: `fit` only checks them and the model. A recording longer than the model's
    window is averaged over its windows. The model is loaded on first use, once per process, on a GPU if there is one.

    A joblib file or pickle holds the model's name and, after `fit`, a digest of its weights, but no weights: if the
    model's weights have changed since, `transform` refuses. Unpickling runs any code that a file holds, so load only
    files from people you trust.

    Args:
        model: the folder, Hub id, or name of any model of the package.
        feature: "pooled", the mean of the encoder's tokens, for probes; or "embeds", for models with a text tower:
            unit vectors in the space shared with text (for a long recording, the mean of its windows' unit vectors).
        sampling_rate: of recordings passed as arrays, in Hz.
        lead_names: of recordings passed as arrays: one name per row of an array (leads, time).
        unit: of recordings passed as arrays: "mV", "uV" or "V".
        batch_size: records per batch, and the most windows per call of the model.
        num_proc: processes that read and prepare records while the model runs; 0: all in this process.

    Attributes:
        weights_digest_: hexadecimal digest of the weights behind the feature.

    Example:
        >>> from cgdmer import ECGEmbedder, simulate_record
        >>> records = [simulate_record(["sinus_rhythm"], seed=seed, sampling_rate=100) for seed in range(3)]
        >>> ECGEmbedder().fit_transform(records).shape
        (3, 128)
        >>> signals = [record.signal for record in records]
        >>> ECGEmbedder(sampling_rate=100, lead_names=records[0].lead_names, unit="mV").transform(signals).shape
        (3, 128)
    """

    def fit(self, X: Any, y: Any = None) -> "ECGEmbedder":
        """Check that the recordings and the model can be used. No recording is read yet.

        Args:
            X: n recordings: a sequence of paths (WFDB, DICOM, aECG, MUSE XML, EDF), of `ECGRecord` objects, of arrays
                (leads, time), or of rows of a prepared dataset; an array (n, leads, time); or a prepared dataset.
            y: not used.

        Raises:
            ECGInputError: X is something else or empty, a path does not exist, or arrays come without rate, leads or
                unit.
            ConfigurationError: an argument of the constructor is invalid.
            ModelFolderError: the model is damaged, or `feature` is "embeds" and it takes no texts.
        """
        self._records(X)
        self.weights_digest_ = self._digest(self._encoder())
        return self

    def transform(self, X: Any) -> np.ndarray:
        """The features of n recordings, float32 of shape (n, D).

        Args:
            X: as in `fit`, which need not have been called.

        Raises:
            CGDMERError: as in `fit`; or a recording cannot be read or used: the message says which one.
            ModelFolderError: as in `fit`; or the model's weights have changed since `fit`.
        """
        records, encoder = self._records(X), self.checked_encoder()
        features = embed_records(
            encoder.model, encoder.feature_extractor, records, batch_size=self.batch_size, num_proc=self.num_proc
        )
        found = getattr(features, self.feature)
        assert isinstance(found, np.ndarray)
        return found

    def checked_encoder(self) -> _Encoder:
        """The model, if its weights are those it was fitted with."""
        encoder = self._encoder()
        fitted, found = getattr(self, "weights_digest_", None), self._digest(encoder)
        if fitted not in (None, found):
            raise ModelFolderError(
                f"{self.model} has other weights (digest {found[:12]}) than when this was fitted ({fitted[:12]}), so "
                "its features have changed. Restore the old weights, or fit again."
            )
        return encoder

    def _encoder(self) -> _Encoder:
        if self.feature not in _FEATURES:
            raise ConfigurationError(f"feature is {self.feature!r}; expected one of {', '.join(_FEATURES)}.")
        for name, lowest in (("batch_size", 1), ("num_proc", 0)):
            value = getattr(self, name)
            if not isinstance(value, Integral) or value < lowest:
                raise ConfigurationError(f"{name} is {value!r}; expected an integer of at least {lowest}.")
        source = model_source(self.model)
        encoder = _load(source, _revision(source))
        if self.feature == "embeds" and not encoder.model.takes_texts:
            raise ModelFolderError(
                f'{self.model} takes no texts, so it has no feature "embeds". Use "pooled", or a model with a text '
                "tower."
            )
        return encoder

    def _digest(self, encoder: _Encoder) -> str:
        digest = hashlib.blake2b(encoder.digest, digest_size=16)
        if self.feature == "embeds":
            assert isinstance(encoder.model, ECGTextModel)
            digest.update(weights_digest(encoder.model.head_of("ecg")))
        return digest.hexdigest()

    @property
    def _n_features_out(self) -> int:
        model = self._encoder().model
        return model.config.projection_size if self.feature == "embeds" else model.base_model.config.hidden_size

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


class ECGClassifier(ClassifierMixin, _RecordingEstimator):
    """A linear probe: logistic regression on the standardized features of a frozen model.

    With one label per recording, the classes exclude each other. With several, each label has its own logistic
    regression.

    A joblib file or pickle holds the model's name, a digest of its weights, and the probe, but not the model's
    weights: see `ECGEmbedder`. `save_pretrained` writes everything. Research use only; not a medical device.

    Args:
        model, feature, sampling_rate, lead_names, unit, batch_size, num_proc: see `ECGEmbedder`.
        C: above 0; smaller means more regularization. The default was best on PTB-XL, from 50 to 3,000 records.

    Attributes:
        classes_: (K,) the labels, sorted; for an indicator matrix the numbers of its columns, or their names if it is
            a data frame.
        multilabel_: whether a recording may have several labels.
        coef_: (1, D) for two classes, else (K, D) float32, for features that are not standardized.
        intercept_: (1,) or (K,) float32.
        embedder_: the fitted `ECGEmbedder`.
        trained_on_: fingerprints of the records of a prepared dataset; None for other recordings.

    Example:
        >>> from cgdmer import ECGClassifier, simulate_record
        >>> labels = ["atrial_fibrillation", "sinus_rhythm"] * 8
        >>> records = [simulate_record([label], seed, sampling_rate=100) for seed, label in enumerate(labels)]
        >>> classifier = ECGClassifier().fit(records[:12], labels[:12])
        >>> classifier.predict_proba(records[12:]).shape
        (4, 2)
        >>> classifier.score(records[12:], labels[12:])
        1.0
    """

    classes_: np.ndarray
    multilabel_: bool
    coef_: np.ndarray
    intercept_: np.ndarray
    embedder_: ECGEmbedder
    trained_on_: Fingerprints | None

    def __init__(
        self,
        model: str | os.PathLike[str] = SHIPPED_MODEL.name,
        feature: str = "pooled",
        sampling_rate: float | None = None,
        lead_names: Sequence[str] | None = None,
        unit: str | None = None,
        batch_size: int = BATCH_SIZE,
        num_proc: int = 0,
        C: float = 0.03,
    ):
        super().__init__(model, feature, sampling_rate, lead_names, unit, batch_size, num_proc)
        self.C = C

    def fit(self, X: Any, y: Any) -> "ECGClassifier":
        """Embed n recordings and fit the probe.

        Args:
            X: see `ECGEmbedder.fit`.
            y: n labels, strings or numbers; or, for several per recording, n lists of strings, or an (n, K) matrix of
                zeros and ones.

        Raises:
            CGDMERError: see `ECGEmbedder`.
            ConfigurationError: C is not above 0.
            ValueError: y is missing, not as long as X, not labels, or has only one class.
        """
        if not isinstance(self.C, Real) or not self.C > 0:
            raise ConfigurationError(f"C is {self.C!r}; expected a number above 0.")
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None. Pass a label for each "
                "recording."
            )
        records = self._records(X)
        self.classes_, targets, self.multilabel_ = read_labels(y)
        check_consistent_length(records, targets)
        options = {name: value for name, value in self.get_params().items() if name != "C"}
        self.embedder_ = ECGEmbedder(**options).fit(records)
        features = self.embedder_.transform(records).astype(np.float64)
        scaler = StandardScaler().fit(features)
        standardized = scaler.transform(features)
        columns = targets.T if self.multilabel_ else [targets]
        names = self.classes_.tolist() if self.multilabel_ else [""]
        maps = [_linear_map(standardized, column, self.C, name) for name, column in zip(names, columns, strict=True)]
        coef = np.concatenate([coef for coef, _ in maps]) / scaler.scale_
        intercept = np.concatenate([intercept for _, intercept in maps]) - coef @ scaler.mean_
        self.coef_, self.intercept_ = coef.astype(np.float32), intercept.astype(np.float32)
        # Without the patients: joblib files travel.
        known = Fingerprints.of(records.rows) if isinstance(records, DatasetRecords) else None
        self.trained_on_ = None if known is None else replace(known, patients=None)
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Log odds: (n,) of the second class if there are two, else (n, K). For classes that exclude each other they
        are defined up to a constant per recording.

        Raises:
            NotFittedError: `fit` was not called.
            CGDMERError: see `ECGEmbedder.transform`.
        """
        check_is_fitted(self)
        logits = self.embedder_.transform(self._records(X)).astype(np.float64) @ self.coef_.T + self.intercept_
        return logits[:, 0] if self._is_binary else logits

    def predict_proba(self, X: Any) -> np.ndarray:
        """(n, K) probabilities of the labels in the order of `classes_`; each row sums to 1 unless `multilabel_`.

        Raises:
            NotFittedError, CGDMERError: see `decision_function`.
        """
        logits = self.decision_function(X)
        if self.multilabel_:
            return expit(logits)
        if self._is_binary:
            return np.stack([expit(-logits), expit(logits)], axis=1)
        return softmax(logits, axis=1)

    def predict(self, X: Any) -> np.ndarray:
        """(n,) the most probable label of each recording; with `multilabel_` (n, K), 1 for a probability above 0.5.

        Raises:
            NotFittedError, CGDMERError: see `decision_function`.
        """
        logits = self.decision_function(X)
        if self.multilabel_:
            return (logits > 0).astype(np.int64)
        return self.classes_[(logits > 0).astype(np.int64) if self._is_binary else logits.argmax(axis=1)]

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy; with `multilabel_`, the fraction of recordings with every label right.

        Args:
            y: as in `fit`.

        Raises:
            NotFittedError, CGDMERError: see `decision_function`.
        """
        check_is_fitted(self)
        if are_lists_of_names(y):
            y = MultiLabelBinarizer(classes=list(self.classes_)).fit_transform(y)
        return super().score(X, y, sample_weight)

    def save_pretrained(self, save_directory: str | os.PathLike[str]) -> None:
        """Write a folder that `pipeline("ecg-classification", model=folder)` loads, locally or from the Hub.

        It holds the model's encoder with the probe as its classifier, the labels, and the feature extractor. The
        pipeline gives the same probabilities as `predict_proba`. If the model says what it was trained on, and the
        probe was fitted on a prepared dataset, the folder also has the fingerprints of all these records, with which
        `cgdmer evaluate` refuses them as test records.

        Raises:
            NotFittedError: `fit` was not called.
            ModelFolderError: the model's family has no classifier; its weights have changed since `fit`; or the folder
                is the model's own.
            ConfigurationError: the probe was fitted on "embeds".
        """
        check_is_fitted(self)
        source, feature = model_source(self.embedder_.model), self.embedder_.feature
        if feature != "pooled":
            raise ConfigurationError(
                f'the probe was fitted on feature="{feature}", and classifiers use the pooled feature. Fit with '
                'feature="pooled", or save this probe with joblib.'
            )
        if os.path.isdir(source) and os.path.isdir(save_directory) and os.path.samefile(source, save_directory):
            raise ModelFolderError(
                f"{save_directory} holds the model itself, which is not overwritten. Name another folder."
            )
        encoder = self.embedder_.checked_encoder()
        model = _classifier_of(source, [str(name) for name in self.classes_.tolist()], self.multilabel_)
        coef, intercept = self.coef_, self.intercept_
        if self._is_binary:  # two logits whose difference is the log odds
            coef, intercept = (np.concatenate([-half, half]) for half in (coef / 2, intercept / 2))
        with torch.no_grad():
            model.classifier.weight.copy_(torch.from_numpy(coef))
            model.classifier.bias.copy_(torch.from_numpy(intercept))
        model.save_pretrained(save_directory)
        encoder.feature_extractor.save_pretrained(save_directory)
        earlier = Fingerprints.of_model(source)
        if self.trained_on_ is not None and earlier is not None:  # otherwise a part of it would be unknown
            records = np.union1d(self.trained_on_.records, earlier.records)
            corpora = tuple(sorted({*self.trained_on_.corpora, *earlier.corpora}))
            Fingerprints(records, corpora, unlisted=earlier.unlisted).save(save_directory)

    @property
    def _is_binary(self) -> bool:
        return not self.multilabel_ and len(self.classes_) == 2

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


def _classifier_of(source: str, label_names: list[str], multilabel: bool) -> ECGEncoderForClassification:
    """A model's encoder with a new classifier."""
    config = ecg_config_of(config_of(source))
    model = class_for(config, Purpose.CLASSIFICATION).from_pretrained(
        source,
        id2label=dict(enumerate(label_names)),
        label2id={name: index for index, name in enumerate(label_names)},
        problem_type="multi_label_classification" if multilabel else "single_label_classification",
        ignore_mismatched_sizes=True,  # replaces a classifier for other labels
        trust_remote_code=False,
    )
    assert isinstance(model, ECGEncoderForClassification)
    return model


def _linear_map(features: np.ndarray, targets: np.ndarray, C: float, label: Any) -> tuple[np.ndarray, np.ndarray]:
    """Weights (1 or K, D) and biases (1 or K,) of a logistic regression, on n standardized features."""
    if np.ptp(targets):
        regression = LogisticRegression(C=C, max_iter=1000).fit(features, targets)
        return regression.coef_, regression.intercept_
    positive = int(targets.sum())
    warnings.warn(
        f"the label {label!r} is in {'every' if positive else 'no'} recording: nothing can be learned about it, and "
        "its probability will be the same for every recording.",
        stacklevel=3,
    )
    # As if half a recording more had the label, and half a recording more did not.
    log_odds = np.log((positive + 0.5) / (len(targets) - positive + 0.5))
    return np.zeros((1, features.shape[1])), np.array([log_odds])
