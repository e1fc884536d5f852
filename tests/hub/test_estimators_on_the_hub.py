# SPDX-License-Identifier: Apache-2.0
"""Estimators on a model from the Hub: a classifier is pushed like any model, and changed weights are noticed."""

import numpy as np
import pytest
from tiny_hub_model import save_model
from transformers import pipeline

from cgdmer import ECGClassifier
from cgdmer.hub.publishing import push
from cgdmer.models.errors import ModelFolderError
from cgdmer.simulation.cohort import simulate_record

NAMES = ["atrial_fibrillation", "sinus_rhythm"]


def test_a_classifier_is_fitted_on_the_hub_and_pushed_there(to_hub, model_folder, tmp_path):
    push(model_folder, "lab/tiny-ecg")
    records = [simulate_record([NAMES[seed % 2]], seed, sampling_rate=100) for seed in range(8)]
    classifier = ECGClassifier("lab/tiny-ecg").fit(records, NAMES * 4)
    expected = classifier.predict_proba(records)
    np.testing.assert_array_equal(expected, ECGClassifier(model_folder).fit(records, NAMES * 4).predict_proba(records))
    classifier.save_pretrained(tmp_path / "classifier")
    push(tmp_path / "classifier", "lab/classifier")
    answers = pipeline("ecg-classification", model="lab/classifier")(records)
    found = [[{one["label"]: one["score"] for one in answer}[name] for name in NAMES] for answer in answers]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    push(save_model(tmp_path / "other", seed=1), "lab/tiny-ecg")
    with pytest.raises(ModelFolderError, match="lab/tiny-ecg has other weights"):
        classifier.predict(records)
