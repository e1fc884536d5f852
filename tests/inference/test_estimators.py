# SPDX-License-Identifier: Apache-2.0
"""The estimators: scikit-learn's own checks, all forms of recordings and labels, saving and loading."""

import doctest
import json
import warnings
from pathlib import Path
from types import SimpleNamespace

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_array
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError, SkipTestWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import InputTags, get_tags
from sklearn.utils.estimator_checks import check_estimator, estimator_checks_generator
from transformers import AutoModelForAudioClassification, pipeline

from cgdmer import ECGClassifier, ECGEmbedder, ECGResNetConfig
from cgdmer.data.fingerprints import Fingerprints
from cgdmer.data.storage import DatasetRecords, load_dataset_folder
from cgdmer.families import Purpose, class_for, extractor_of, load_classifier, load_model, load_processor
from cgdmer.hub.cards import fill_card
from cgdmer.inference import estimators
from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import ConfigurationError, CorpusError, ECGInputError, ModelFolderError, RecordFileError
from cgdmer.models.leads import STANDARD_LEADS
from cgdmer.simulation.cohort import simulate_record
from recordings import write_wfdb
from small_families import FAMILIES, small_config

AF, SR = "atrial_fibrillation", "sinus_rhythm"


def save_small_model(folder: Path, config, seed: int = 0) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = class_for(config, Purpose.ENCODING)(config)
    model.save_pretrained(folder)
    shipped = load_processor("cgdmer-tiny-ptbxl", SimpleNamespace(takes_texts=True))
    (shipped if model.takes_texts else extractor_of(shipped)).save_pretrained(folder)
    return folder


def resnet_config() -> ECGResNetConfig:
    return ECGResNetConfig(sampling_rate=100, num_samples=1000, patch_length=40, hidden_size=16)


@pytest.fixture(scope="module")
def small_model(tmp_path_factory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("model") / "coreecg", small_config("coreecg"))


@pytest.fixture(scope="module")
def records() -> list[ECGRecord]:
    """Twelve of atrial fibrillation and sinus rhythm in turn."""
    return [simulate_record([(AF, SR)[seed % 2]], seed, sampling_rate=100) for seed in range(12)]


@pytest.fixture(scope="module")
def labels() -> list[str]:
    return [AF, SR] * 6


def features_of(model: Path | str, records: list[ECGRecord], feature: str = "pooled") -> np.ndarray:
    """Straight from the model, one record at a time; for a long one each second counts once."""
    loaded = load_model(model).eval()
    extractor = extractor_of(load_processor(model, loaded))
    found = []
    with torch.no_grad():
        for record in records:
            batch = extractor(record, windows=True, return_tensors="pt")
            inputs = {name: batch[name] for name in extractor.model_input_names}
            pooled = loaded.base_model(**inputs).pooler_output
            seconds, before_last = record.signal.shape[1] / record.sampling_rate, 10.0 * (len(pooled) - 1)
            weights = torch.tensor([10.0] * (len(pooled) - 1) + [seconds - before_last]) / seconds
            mean = weights @ (pooled if feature == "pooled" else loaded.project("ecg", pooled))
            found.append(mean)
    return torch.stack(found).numpy()


# scikit-learn's checks pass matrices of numbers. The classes below turn each row into a recording, so that the rest of
# the estimators is checked as scikit-learn intends. Checks of the matrix itself do not apply.

_COLUMNS = "a recording has no columns to count"
_MATRIX = "about the values and shapes of a matrix; those of recordings are tested below"
NOT_APPLICABLE = {
    "check_n_features_in": _COLUMNS,
    "check_n_features_in_after_fitting": _COLUMNS,
    "check_fit2d_1feature": _COLUMNS,
    "check_fit1d": _MATRIX,
    "check_fit2d_predict1d": _MATRIX,
    "check_complex_data": _MATRIX,
    "check_dtype_object": _MATRIX,
    "check_estimators_empty_data_messages": _MATRIX,
    "check_estimators_nan_inf": "NaN is a missing sample, and the feature extractor refuses infinities",
    "check_estimator_sparse_tag": "no recording is sparse",
    "check_estimator_sparse_array": "no recording is sparse",
    "check_estimator_sparse_matrix": "no recording is sparse",
    "check_array_api_input": "the feature extractor makes tensors from recordings of any kind",
}


def recording_of(row: np.ndarray) -> ECGRecord:
    """Two seconds of a sum of sines, one per number, which sets its amplitude."""
    number, time = np.arange(len(row))[:, None], np.arange(200) / 100
    phases = np.random.default_rng(0).uniform(0, 2 * np.pi, (12, len(row), 1))
    sines = np.sin(2 * np.pi * (1 + 2.3 * number) * time + phases)
    signal = ((1.2 + np.tanh(row / 4)) @ sines) / np.sqrt(len(row))
    return ECGRecord(signal.astype(np.float32), 100, STANDARD_LEADS)


class OfRows:
    """Makes an estimator of recordings take matrices."""

    def fit(self, X, y=None):
        self.width_ = np.asarray(X).shape[-1]
        return super().fit(X, y)

    def _records(self, X):
        X = np.asarray(X, dtype=np.float64)
        if X.shape[1] != getattr(self, "width_", X.shape[1]):
            raise ValueError("another number of columns than in fit")
        return super()._records([recording_of(row) for row in X])

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags = InputTags()
        return tags


class EmbedderOfRows(OfRows, ECGEmbedder):
    pass


class ClassifierOfRows(OfRows, ECGClassifier):
    pass


def applicable_checks():
    for estimator in (EmbedderOfRows(), ClassifierOfRows()):
        for one, check in estimator_checks_generator(estimator):
            if check.func.__name__ not in NOT_APPLICABLE:
                yield pytest.param(one, check, id=f"{type(one).__name__}-{check.func.__name__}")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("estimator", "check"), list(applicable_checks()))
def test_scikit_learns_own_checks(estimator, check, small_model):
    check(estimator.set_params(model=small_model))


def test_scikit_learn_is_told_what_the_estimators_take(small_model):
    for estimator in (ECGEmbedder(), ECGClassifier()):
        inputs = get_tags(estimator).input_tags
        assert inputs.one_d_array and inputs.three_d_array and inputs.allow_nan and not inputs.two_d_array
        with pytest.warns(SkipTestWarning):
            check_estimator(estimator)  # the checks that need no matrix
    assert is_classifier(ECGClassifier()) and get_tags(ECGClassifier()).classifier_tags.multi_label
    assert not get_tags(ECGEmbedder()).requires_fit and get_tags(ECGClassifier()).requires_fit


# Recordings


@pytest.mark.parametrize("family", ["packaged", *FAMILIES, "resnet"])
def test_the_features_are_the_models_own(family, records, tmp_path):
    if family == "packaged":
        model = "cgdmer-tiny-ptbxl"
    elif family == "resnet":
        model = save_small_model(tmp_path / "m", resnet_config())
    else:
        model = save_small_model(tmp_path / "m", small_config(family))
    few = [*records[:2], simulate_record([AF], 50, sampling_rate=100, duration=27.0)]
    found = ECGEmbedder(model, batch_size=2).fit_transform(few)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, features_of(model, few), rtol=1e-4, atol=1e-5)
    if load_model(model).takes_texts:
        embeds = ECGEmbedder(model, "embeds").transform(few)
        np.testing.assert_allclose(embeds, features_of(model, few, "embeds"), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(embeds[:2], axis=1), 1, rtol=1e-5)
        assert np.linalg.norm(embeds[2]) < 1  # a mean over windows that differ
    else:
        with pytest.raises(ModelFolderError, match='takes no texts, so it has no feature "embeds"'):
            ECGEmbedder(model, "embeds").fit(few)


def test_recordings_in_every_form_give_the_same(small_model, records, dataset_folder, tmp_path):
    embedder = ECGEmbedder(small_model)
    expected = embedder.transform(records)
    paths = [write_wfdb(record, tmp_path / f"r{number}") for number, record in enumerate(records)]
    from_files = embedder.transform(paths)
    np.testing.assert_allclose(from_files, expected, atol=2e-3)  # rounded to 1 uV
    for same in ([str(path) for path in paths], np.array(list(map(str, paths))), pd.Series(list(map(str, paths)))):
        np.testing.assert_array_equal(embedder.transform(same), from_files)
    signals = np.stack([record.signal for record in records])
    described = {"sampling_rate": 100, "lead_names": records[0].lead_names}
    for unit, factor in (("mV", 1), ("uV", 1000), ("V", 0.001)):
        of_arrays = ECGEmbedder(small_model, unit=unit, **described)
        for arrays in (signals * factor, list(signals * factor), torch.from_numpy(signals * factor)):
            np.testing.assert_allclose(of_arrays.transform(arrays), expected, atol=1e-5)
    mixed = [str(paths[0]), records[1], signals[2], tuple(records)[3]]
    found = ECGEmbedder(small_model, unit="mV", **described).transform(mixed)
    np.testing.assert_allclose(found, np.concatenate([from_files[:1], expected[1:4]]), atol=1e-5)
    rows = load_dataset_folder(dataset_folder)["train"]
    expected = embedder.transform(DatasetRecords(rows))
    for same in (rows, list(rows), rows[:]):
        np.testing.assert_array_equal(embedder.transform(same), expected)
    np.testing.assert_array_equal(ECGEmbedder(small_model, num_proc=2).transform(rows), expected)


SIGNALS = np.random.default_rng(0).normal(size=(3, 2, 400))
DESCRIBED = {"sampling_rate": 100, "lead_names": ["I", "II"], "unit": "mV"}


@pytest.mark.parametrize(
    ("X", "options", "error", "message"),
    [
        (["absent"], {}, ECGInputError, r"X\[0\] is 'absent', but there is no such file, nor absent.hea"),
        ("absent", {}, ECGInputError, r"X is a single recording. Pass a list: \[recording\]"),
        ([], {}, ECGInputError, "X is empty"),
        ([3], {}, ECGInputError, r"X\[0\] is a int. Pass a list with one entry per recording"),
        ([None], {}, ECGInputError, r"X\[0\] is a NoneType"),
        (iter(["a"]), {}, ECGInputError, "no length"),
        (SIGNALS[0], DESCRIBED, ECGInputError, r"X is a ndarray of shape \(2, 400\)"),
        (pd.DataFrame({"path": ["a"]}), {}, ECGInputError, r"X is a DataFrame of shape \(1, 1\)"),
        ([SIGNALS], DESCRIBED, ECGInputError, r"X\[0\] is a ndarray of shape \(3, 2, 400\)"),
        (SIGNALS, {}, ECGInputError, "was not given sampling_rate and lead_names and unit"),
        (SIGNALS, DESCRIBED | {"unit": None}, ECGInputError, "was not given unit, which is not guessed"),
        (SIGNALS, DESCRIBED | {"unit": "adu"}, ECGInputError, "by their gain"),
        (SIGNALS, DESCRIBED | {"lead_names": "II"}, ECGInputError, "lead_names is the string"),
        (SIGNALS, DESCRIBED | {"lead_names": ["I"]}, ECGInputError, "record 0 of 3: ecg has 2 rows but 1 lead names"),
        (SIGNALS, DESCRIBED | {"sampling_rate": 1}, ECGInputError, "record 0 of 3: sampling_rate is 1.0 Hz"),
        (SIGNALS, DESCRIBED | {"unit": "V"}, ECGInputError, "record 0 of 3: half of the leads swing by more"),
        ([*SIGNALS, 0 * SIGNALS[0]], DESCRIBED, ECGInputError, "record 3 of 4: every lead is flat"),
        (SIGNALS.astype(complex), DESCRIBED, ECGInputError, r"X\[0\] is not numeric: it holds complex128"),
        ([{"signal": b""}], {}, CorpusError, "record 0 of 1: the row lacks record_id"),
        ([__file__], {}, RecordFileError, "record 0 of 1: .*test_estimators.py is in none of the formats"),
        (SIGNALS, DESCRIBED | {"feature": "mean"}, ConfigurationError, "feature is 'mean'; expected one of pooled"),
        (SIGNALS, DESCRIBED | {"batch_size": 0}, ConfigurationError, "batch_size is 0"),
        (SIGNALS, DESCRIBED | {"num_proc": 0.5}, ConfigurationError, "num_proc is 0.5"),
    ],
)
def test_invalid_recordings_are_refused(small_model, X, options, error, message):
    with pytest.raises(error, match=message):
        ECGEmbedder(small_model, **options).fit_transform(X)


def test_a_description_of_arrays_is_refused_without_arrays(small_model, records):
    with pytest.raises(ECGInputError, match="sampling_rate is for arrays, but X holds none"):
        ECGEmbedder(small_model, sampling_rate=500).fit(records)
    with pytest.raises(ECGInputError, match="single recording"):
        ECGEmbedder(small_model).fit(records[0])


# Labels


def own_probabilities(features, targets, C: float) -> np.ndarray:
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=1000))
    return probe.fit(features, targets).predict_proba(features)


THREE = [AF, SR, "low_voltage"] * 4


@pytest.mark.parametrize("y", [[AF, SR] * 6, THREE, [2, 0] * 6, [True, False] * 6, pd.Series(THREE)])
def test_one_label_per_recording(small_model, records, y):
    classifier = ECGClassifier(small_model, C=0.5).fit(records, y)
    np.testing.assert_array_equal(classifier.classes_, sorted(set(y)))
    probabilities = classifier.predict_proba(records)
    np.testing.assert_allclose(probabilities, own_probabilities(features_of(small_model, records), y, 0.5), atol=1e-4)
    np.testing.assert_array_equal(classifier.predict(records), classifier.classes_[probabilities.argmax(axis=1)])
    assert classifier.score(records, y) == np.mean(classifier.predict(records) == np.asarray(y))
    assert classifier.coef_.shape == (1 if len(set(y)) == 2 else 3, 16) and not classifier.multilabel_


NAMES = [[AF], [SR, "low_voltage"], [], [AF, "low_voltage"]] * 3
MATRIX = np.array([[1, 0, 0], [0, 1, 1], [0, 0, 0], [1, 1, 0]] * 3)  # columns: AF, low voltage, SR


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        (NAMES, [AF, "low_voltage", SR]),
        (pd.Series(list(map(tuple, NAMES))), [AF, "low_voltage", SR]),
        (MATRIX, [0, 1, 2]),
        (MATRIX.astype(bool), [0, 1, 2]),
        (MATRIX.tolist(), [0, 1, 2]),
        (csr_array(MATRIX), [0, 1, 2]),
        (pd.DataFrame(MATRIX, columns=["x", "a", "b"]), ["x", "a", "b"]),
    ],
)
def test_several_labels_per_recording(small_model, records, y, classes):
    classifier = ECGClassifier(small_model, C=0.5).fit(records, y)
    assert classifier.multilabel_ and classifier.classes_.tolist() == classes
    features = features_of(small_model, records)
    expected = np.stack([own_probabilities(features, column, 0.5)[:, 1] for column in MATRIX.T], axis=1)
    probabilities = classifier.predict_proba(records)
    np.testing.assert_allclose(probabilities, expected, atol=1e-4)
    np.testing.assert_array_equal(classifier.predict(records), probabilities > 0.5)
    right = (classifier.predict(records) == MATRIX).all(axis=1).mean()
    assert classifier.score(records, y) == pytest.approx(right)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "requires y to be passed, but the target y is None"),
        ([AF, *[SR] * 10], r"inconsistent numbers of samples: \[12, 11\]"),
        ([AF] * 12, "y holds only one class, 'atrial_fibrillation'; at least 2 classes are needed"),
        (np.linspace(0, 1, 12), "Unknown label type"),
        ([0.0, np.nan] * 6, "y contains NaN"),
        ([[]] * 12, "no labels at all"),
        (MATRIX * 2 + MATRIX[:, ::-1], "values other than 0 and 1"),
    ],
)
def test_invalid_labels_are_refused(small_model, records, y, message):
    with pytest.raises(ValueError, match=message):
        ECGClassifier(small_model).fit(records, y)


@pytest.mark.parametrize("C", [0, -1.0, "1", None])
def test_an_invalid_regularization_is_refused(small_model, records, labels, C):
    with pytest.raises(ConfigurationError, match="C is"):
        ECGClassifier(small_model, C=C).fit(records, labels)


def test_a_label_in_every_or_no_recording_gives_a_warning(small_model, records):
    matrix = np.stack([np.ones(12), np.zeros(12), [0, 1] * 6], axis=1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        classifier = ECGClassifier(small_model).fit(records, matrix)
    messages = [str(warning.message) for warning in caught if "nothing can be learned" in str(warning.message)]
    assert len(messages) == 2 and "label 0 is in every" in messages[0] and "label 1 is in no" in messages[1]
    probabilities = classifier.predict_proba(records)
    np.testing.assert_allclose(probabilities[:, :2], np.tile([12.5 / 13, 0.5 / 13], (12, 1)), rtol=1e-5)
    assert np.ptp(probabilities[:, 2]) > 0.01


# With scikit-learn's own tools


def test_in_pipelines_cross_validation_and_searches(small_model, records, labels, tmp_path):
    groups = np.arange(12) // 2
    folds = StratifiedGroupKFold(3)
    scores = cross_val_score(
        ECGClassifier(small_model), records, labels, cv=folds, groups=groups, scoring="roc_auc_ovr"
    )
    features = features_of(small_model, records)
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=ECGClassifier().C))
    expected = cross_val_score(probe, features, labels, cv=folds, groups=groups, scoring="roc_auc_ovr")
    np.testing.assert_allclose(scores, expected)
    multilabel = cross_val_score(ECGClassifier(small_model), records, MATRIX[:, :2], cv=3, scoring="roc_auc")
    assert np.isfinite(multilabel).all()
    steps = make_pipeline(ECGEmbedder(small_model), StandardScaler(), LogisticRegression(), memory=str(tmp_path))
    search = GridSearchCV(steps, {"logisticregression__C": [0.01, 1.0]}, cv=3).fit(records, labels)
    assert search.predict(records).shape == (12,)
    search = GridSearchCV(ECGClassifier(), {"model": [small_model], "C": [0.01, 1.0]}, cv=2)
    assert search.fit(records, labels).best_params_["model"] == small_model


@pytest.mark.slow
def test_in_several_processes(small_model, records, labels):
    alone, together = (cross_val_score(ECGClassifier(small_model), records, labels, n_jobs=jobs) for jobs in (1, 2))
    np.testing.assert_array_equal(alone, together)


def test_the_model_is_loaded_once(small_model, records, labels):
    estimators._load.cache_clear()
    cross_val_score(ECGClassifier(small_model), records, labels, cv=3)
    assert estimators._load.cache_info().misses == 1


def test_features_have_names(small_model, records):
    names = ECGEmbedder(small_model).get_feature_names_out()
    assert names[0] == "ecgembedder0" and len(names) == 16
    table = ECGEmbedder(small_model).set_output(transform="pandas").fit_transform(records)
    assert list(table.columns) == list(names) and table.shape == (12, 16)
    assert len(ECGEmbedder(feature="embeds").get_feature_names_out()) == 128


# Saving


def test_a_joblib_file_holds_the_probe_and_refuses_other_weights(records, labels, tmp_path):
    model = save_small_model(tmp_path / "model", small_config("cgdmer"))
    fitted = [
        ECGClassifier(model).fit(records, labels),
        ECGClassifier(model, "embeds").fit(records, labels),
        make_pipeline(ECGEmbedder(model), LogisticRegression()).fit(records, labels),
    ]
    expected = [one.predict_proba(records) for one in fitted]
    joblib.dump(fitted, tmp_path / "fitted.joblib")
    assert (tmp_path / "fitted.joblib").stat().st_size < 20_000 < (model / "model.safetensors").stat().st_size
    estimators._load.cache_clear()
    for one, probabilities in zip(joblib.load(tmp_path / "fitted.joblib"), expected, strict=True):
        np.testing.assert_array_equal(one.predict_proba(records), probabilities)
    save_small_model(model, small_config("cgdmer"), seed=1)
    for one in joblib.load(tmp_path / "fitted.joblib"):
        with pytest.raises(ModelFolderError, match="has other weights"):
            one.predict_proba(records)
        assert clone(one).fit(records, labels).predict_proba(records).shape == (12, 2)
    assert ECGEmbedder(model).transform(records).shape == (12, 16)


def test_only_the_weights_behind_the_feature_count(records, tmp_path):
    folder = save_small_model(tmp_path / "model", small_config("cgdmer"))
    pooled, embeds = ECGEmbedder(folder).fit(records), ECGEmbedder(folder, "embeds").fit(records)
    expected = pooled.transform(records)
    model = load_model(folder)
    with torch.no_grad():
        next(model.head_of("ecg").parameters()).add_(0.1)
    model.save_pretrained(folder)
    np.testing.assert_array_equal(pooled.transform(records), expected)
    with pytest.raises(ModelFolderError, match="has other weights"):
        embeds.transform(records)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("y", [[AF, SR] * 6, THREE, NAMES, [[AF], []] * 6], ids=["two", "three", "several", "one"])
def test_the_pipeline_gives_the_same_probabilities(family, y, records, tmp_path):
    model = save_small_model(tmp_path / "model", small_config(family))
    classifier = ECGClassifier(model, C=1.0).fit(records, y)
    classifier.save_pretrained(tmp_path / "saved")
    few = [*records[:3], simulate_record([AF], 50, sampling_rate=250, duration=27.0)]
    expected = classifier.predict_proba(few)
    answers = pipeline("ecg-classification", model=str(tmp_path / "saved"))(few)
    names = list(map(str, classifier.classes_))
    found = [[{one["label"]: one["score"] for one in answer}[name] for name in names] for answer in answers]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert len(np.unique(expected.round(4), axis=0)) == 4
    saved = AutoModelForAudioClassification.from_pretrained(tmp_path / "saved")
    assert saved.config.problem_type.startswith("multi" if classifier.multilabel_ else "single")
    assert saved.config.label2id == {name: number for number, name in enumerate(names)}
    assert f"{names[0]}" in str(fill_card(tmp_path / "saved", "someone/saved"))
    again = ECGEmbedder(tmp_path / "saved").transform(few)
    np.testing.assert_array_equal(again, ECGEmbedder(model).transform(few))


def test_a_saved_probe_says_which_records_it_and_its_model_were_trained_on(dataset_folder, records, labels, tmp_path):
    model = save_small_model(tmp_path / "model", small_config("coreecg"))
    train, test = (load_dataset_folder(dataset_folder)[name] for name in ("train", "validation"))
    y = [number % 2 for number in range(len(train))]
    ECGClassifier(model).fit(train, y).save_pretrained(tmp_path / "unknown")  # what the model was trained on is not
    assert Fingerprints.of_model(str(tmp_path / "unknown")) is None
    Fingerprints(np.array([3, 7])).save(model)
    ECGClassifier(model).fit(train, y).save_pretrained(tmp_path / "saved")
    found = Fingerprints.of_model(str(tmp_path / "saved"))
    assert found is not None and found.patients is None and {3, 7} < set(found.records.tolist())
    assert found.overlap(train)["records"] == len(train) and found.overlap(test)["records"] == 0
    ECGClassifier(model).fit(records, labels).save_pretrained(tmp_path / "files")
    assert Fingerprints.of_model(str(tmp_path / "files")) is None


def test_a_folder_that_would_be_wrong_is_not_written(records, labels, tmp_path):
    model = save_small_model(tmp_path / "model", small_config("cgdmer"))
    before = (model / "model.safetensors").read_bytes()
    with pytest.raises(NotFittedError):
        ECGClassifier(model).save_pretrained(tmp_path / "saved")
    with pytest.raises(ConfigurationError, match='fitted on feature="embeds"'):
        ECGClassifier(model, "embeds").fit(records, labels).save_pretrained(tmp_path / "saved")
    classifier = ECGClassifier(model).fit(records, labels)
    with pytest.raises(ModelFolderError, match="holds the model itself"):
        classifier.save_pretrained(f"{model}/../model")
    assert (model / "model.safetensors").read_bytes() == before
    save_small_model(model, small_config("cgdmer"), seed=1)
    with pytest.raises(ModelFolderError, match="has other weights"):
        classifier.save_pretrained(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()
    resnet = save_small_model(tmp_path / "resnet", resnet_config())
    ECGClassifier(resnet).fit(records, labels).save_pretrained(tmp_path / "saved")
    assert type(load_classifier(tmp_path / "saved")).__name__ == "ECGResNetForECGClassification"


def test_a_classifier_for_other_labels_is_replaced(small_model, records, labels, tmp_path):
    ECGClassifier(small_model).fit(records, THREE).save_pretrained(tmp_path / "first")
    second = ECGClassifier(tmp_path / "first").fit(records, labels)
    second.save_pretrained(tmp_path / "second")
    assert json.loads((tmp_path / "second" / "config.json").read_text())["id2label"] == {"0": AF, "1": SR}
    expected = ECGClassifier(small_model).fit(records, labels).predict_proba(records)
    np.testing.assert_allclose(second.predict_proba(records), expected, atol=1e-6)


def test_the_examples_of_the_docstrings():
    failed, tried = doctest.testmod(estimators)
    assert not failed and tried > 8
