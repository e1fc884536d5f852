# SPDX-License-Identifier: Apache-2.0
"""`cgdmer evaluate` of several models: the figures of each alone, and paired differences from the first."""

import csv
import json
from pathlib import Path

import pytest
import torch
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

from cgdmer import EvaluationArguments, evaluate_model
from cgdmer.commands import main
from cgdmer.data.storage import split_of_fold
from cgdmer.data.writing import write_dataset
from cgdmer.evaluation.comparison import compare
from cgdmer.evaluation.side_by_side import evaluate_models
from cgdmer.models.errors import ConfigurationError, ModelFolderError
from cgdmer.presets import SHIPPED_MODEL
from cgdmer.simulation.cohort import simulate_cohort
from small_families import small_config, write_small_preset

PROBE = "linear probe 100 %"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cohort") / "ecgs"
    cohort = simulate_cohort(120, seed=3, sampling_rate=100)
    write_dataset(cohort, folder, splits=split_of_fold, description="Simulated.")
    return folder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("encoder") / SHIPPED_MODEL.name  # the name of another
    preset = write_small_preset(home.parent / "preset", "coreecg")
    torch.manual_seed(0)
    AutoModelForAudioClassification.from_config(small_config("coreecg")).ecg_model.save_pretrained(home)
    AutoFeatureExtractor.from_pretrained(preset).save_pretrained(home)
    return home


def test_each_model_as_if_alone_and_paired_with_the_first(dataset, encoder, tmp_path, capsys):
    words = ["evaluate", str(SHIPPED_MODEL), str(encoder), "--dataset", str(dataset), "--tasks", "simulated"]
    assert main([*words, "--output_dir", str(tmp_path / "out"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    shipped, other = found["models"]
    assert other == f"{shipped}-2"
    lines = {(line["measure"], line["model"]): line for line in found["side_by_side"]}
    assert [*lines] == [("zero-shot", shipped), (PROBE, shipped), (PROBE, other)]  # the encoder takes no texts

    alone = evaluate_model(EvaluationArguments(str(encoder), str(dataset), ["simulated"]))["simulated"]
    line = lines[PROBE, other]
    assert line["macro_auroc"] == alone["measures"][PROBE]["macro_auroc"]
    assert line["macro_auroc_interval"] == alone["measures"][PROBE]["macro_auroc_interval"]
    assert line["untrained"] == alone["untrained"][PROBE]["macro_auroc"]
    assert line["megabytes"] == pytest.approx(sum(4 * count for count in counted(encoder)) / 1e6, rel=0.01)
    folders = [tmp_path / "out" / name / "simulated" for name in (other, shipped)]
    paired = compare(*folders)["measures"][PROBE]
    assert (line["difference"], line["p_value"]) == (paired["difference"], paired["p_value"])
    assert line["difference_interval"] == list(paired["interval"])
    assert lines[PROBE, shipped]["difference"] is None and line["milliseconds"] > 0
    assert not any(of_model["in_domain"] for of_model in lines.values())  # simulated patients

    with open(tmp_path / "out" / "models.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["measure"], row["model"]) for row in rows] == [*lines]
    assert float(rows[-1]["difference_low"]) == line["difference_interval"][0] and rows[0]["difference"] == ""
    report = (tmp_path / "out" / "models.md").read_text()
    assert f"{line['difference']:+.3f}" in report and "Not a medical device" in report
    assert (tmp_path / "out" / "simulated.png").stat().st_size > 10_000


def counted(encoder: Path) -> list[int]:
    model = AutoModelForAudioClassification.from_pretrained(encoder).ecg_model
    return [one.numel() for one in (*model.parameters(), *model.buffers())]


@pytest.mark.parametrize("models", [["one"], ["one", "one"]])
def test_two_different_models_are_needed(models):
    with pytest.raises(ConfigurationError, match="two or more different"):
        evaluate_models(EvaluationArguments("", "nowhere"), models)


def test_a_wrong_name_is_said_before_any_is_evaluated(dataset, tmp_path):
    asked = EvaluationArguments("", str(dataset), ["simulated"], output_dir=str(tmp_path / "out"))
    with pytest.raises(ModelFolderError, match="nothing_here"):
        evaluate_models(asked, [str(SHIPPED_MODEL), str(tmp_path / "nothing_here")])
    assert not (tmp_path / "out").exists()
