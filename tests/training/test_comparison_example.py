# SPDX-License-Identifier: Apache-2.0
"""examples/comparison: its rows, that it goes on after a kill, and its summary against scikit-learn."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from safetensors.numpy import load_file as load_numpy
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score
from transformers import AutoFeatureExtractor

from cgdmer import CGDMERForECGClassification
from cgdmer.data.storage import load_dataset_folder
from cgdmer.evaluation.evaluate_task import Evaluation
from cgdmer.evaluation.tasks import get_task
from cgdmer.families import Purpose, class_for, ecg_config_of
from cgdmer.models.errors import ConfigurationError, CorpusError
from cgdmer.training.objectives import OBJECTIVES, objective_class
from cgdmer.training.objectives.views import TwoViews

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "comparison"
sys.path.insert(0, str(FOLDER))

import figure  # noqa: E402
import intervals  # noqa: E402
import rows  # noqa: E402
import run  # noqa: E402
import summary  # noqa: E402
import supervised  # noqa: E402

PASSES = 0.5
PER_LEAD = "per-lead probe 100 %"
READOUTS = ["linear probe 100 %", PER_LEAD, "nearest neighbors 100 %", "attention probe 100 %", "finetuned"]


@pytest.fixture(scope="module")
def place(tmp_path_factory, make_preset) -> Path:
    folder = tmp_path_factory.mktemp("comparison")
    options = {"per_device_train_batch_size": 16, "learning_rate": 1e-3, "weight_decay": 0.05}
    preset = make_preset(contrast_view="masked_ecg")
    (folder / "base.json").write_text(json.dumps({"preset": str(preset), "options": options}))
    return folder


def arguments(place: Path, dataset: Path, *more: str) -> list[str]:
    return [
        *("--dataset", str(dataset), "--output_dir", str(place / "work"), "--csv", str(place / "results.csv")),
        *("--base", str(place / "base.json"), "--tasks", "simulated", "--fractions", "1"),
        *("--passes", str(PASSES), "--learning_rates", "1e-3", "1e-4", *more),
    ]


def lines(place: Path) -> list[dict[str, str]]:
    path = place / "results.csv"
    return list(csv.DictReader(path.read_text().splitlines())) if path.is_file() else []


# Rows.


@pytest.mark.parametrize("name", rows.ROWS)
def test_every_row_is_a_model_of_about_the_same_size(name, tmp_path):
    row = rows.read_row(name, FOLDER / "base.json")
    config = rows.write_preset(tmp_path / "changed", row)
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path / "changed")
    assert extractor.patch_length == ecg_config_of(config).patch_length
    assert extractor.normalization == "centered"
    full = rows.write_preset(tmp_path / "full", rows.read_row("full", FOLDER / "base.json"))
    sizes = [class_for(one, Purpose.PRETRAINING)(one).ecg_model.num_parameters() for one in (config, full)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.15)
    same = {"random_init", "supervised"} | {one for one in rows.ROWS if one in OBJECTIVES}
    preset = rows.write_preset(tmp_path / "preset", rows.read_row("random_init", FOLDER / "base.json"))
    assert (config.to_dict() == preset.to_dict()) == (name in same)


@pytest.mark.parametrize("name", rows.ROWS)
def test_two_views_of_an_ecg_count_as_two(name, tmp_path):
    row = rows.read_row(name, FOLDER / "base.json")
    objective, config = row["options"].get("objective"), rows.write_preset(tmp_path, row)
    if objective is not None:
        has_two = isinstance(objective_class(objective).views, TwoViews)
    else:
        has_two = getattr(config, "num_views", 1) == 2
    assert row.get("views", 1) == (2 if has_two else 1)


def test_superclasses_alone_are_asked_for_by_their_statements(place, cohort_folder, tmp_path, monkeypatch):
    options = Namespace(dataset=cohort_folder, output_dir=tmp_path, csv=tmp_path / "results.csv", passes=1.0)
    options.tasks, options.learning_rates = ["ptbxl-super", "ptbxl-sub"], [1e-3]
    options.splits, options.fractions = ["test"], [1.0]
    asked = {}

    def note(model, processor, dataset, task, *, prompts, **how):
        asked[task.name] = task.prompts(prompts)

    monkeypatch.setattr(run, "evaluate_task", note)
    row = rows.read_row("random_init", place / "base.json")
    one = run._One("random_init", row, 0, options, run._Protocol(options))
    one._save_random(tmp_path / "model")
    one._read_out(tmp_path, load_dataset_folder(cohort_folder), options.tasks, options.splits, ["mean"], [1.0])
    assert "complete left bundle branch block" in asked["ptbxl-super"][get_task("ptbxl-super").class_names.index("CD")]
    assert asked["ptbxl-sub"] == get_task("ptbxl-sub").prompts()


def test_lines_of_table_3_add_one_loss_each(tmp_path):
    losses = ["contrastive", "ecg_reconstruction", "text_reconstruction", "orthogonality", "siglip"]
    for count, name in enumerate(["table3_1", "table3_2", "table3_3", "table3_4", "full"], start=1):
        config = rows.write_preset(tmp_path, rows.read_row(name, FOLDER / "base.json"))
        on = [name for name in losses if getattr(config, f"{name}_loss_weight") > 0]
        assert on == losses[:count]


def test_an_unknown_row_is_refused():
    with pytest.raises(ConfigurationError, match="no row 'fll'"):
        rows.read_row("fll", FOLDER / "base.json")


def test_seconds_per_step_are_those_that_the_run_logged(tmp_path):
    logged = [
        {"step": 10, "samples_per_second": 8.0},  # 10 steps of 16 in 20 s
        {"step": 10, "validation_loss": 1.0},
        {"step": 20, "samples_per_second": 16.0},  # 10 s
        {"step": 25, "samples_per_second": 32.0},  # 2.5 s
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in logged))
    assert run.seconds_per_step(tmp_path, 16) == pytest.approx(32.5 / 25)


# Runs.


@pytest.mark.slow
def test_a_killed_run_leaves_no_line_and_goes_on(place, cohort_folder, capsys):
    command = arguments(place, cohort_folder, "--rows", "contrast_only_vit", "--seeds", "0")
    model = place / "work" / "contrast_only_vit" / "seed_0" / "model"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(
        [sys.executable, str(FOLDER / "run.py"), *command],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not (model / "training_records.safetensors").is_file():
        assert child.poll() is None
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)  # trained, not evaluated
    child.wait()
    assert not lines(place)
    trained = (model / "model.safetensors").stat().st_mtime_ns

    run.main(command)
    assert (model / "model.safetensors").stat().st_mtime_ns == trained, "the finished training was not used"
    assert [(line["row"], line["seed"]) for line in lines(place)] == [("contrast_only_vit", "0")] * 5
    assert [line["measure"] for line in lines(place)] == ["zero-shot", *(one for one in READOUTS if one != PER_LEAD)]
    before = (place / "results.csv").read_text()
    capsys.readouterr()
    run.main(command)
    assert "contrast_only_vit, seed 0: in" in capsys.readouterr().out
    assert (place / "results.csv").read_text() == before


@pytest.mark.slow
def test_a_row_goes_on_from_the_weights_of_another(place, cohort_folder, tmp_path):
    command = arguments(tmp_path, cohort_folder, "--seeds", "0", "--base", str(place / "base.json"), "--rows")
    with pytest.raises(ConfigurationError, match="starts from reconstruction_only_30, which is not trained yet"):
        run.main([*command, "reconstruction_then_contrast"])
    run.main([*command, "reconstruction_only_30", "reconstruction_then_contrast"])
    work = tmp_path / "work"
    first = load_file(work / "reconstruction_only_30" / "seed_0" / "model" / "model.safetensors")
    start = work / "reconstruction_then_contrast" / "seed_0" / "start"
    assert all((first[name] == array).all() for name, array in load_file(start / "model.safetensors").items())
    config = json.loads((start / "config.json").read_text())
    assert (config["contrastive_loss_weight"], config["ecg_reconstruction_loss_weight"]) == (1.0, 0.0)
    written = json.loads((start.with_name("model") / "training_arguments.json").read_text())
    assert written["model"] == str(start) and written["config_name"] is None
    assert [line["measure"] for line in of(tmp_path, "reconstruction_then_contrast", 0)] == ["zero-shot", *READOUTS]
    for rate in ("0.001", "0.0001"):  # chosen without the last fold, by both rows
        folder = work / "reconstruction_then_contrast" / f"learning_rate_{float(rate):g}"
        held = load_numpy(folder / "start" / "training_records.safetensors")["records"]
        assert len(held) == len(load_dataset_folder(work / "tuning")["train"])


@pytest.fixture(scope="module")
def compared(place, cohort_folder) -> Path:
    """The full model with two seeds, one without text, and one without pretraining."""
    run.main(arguments(place, cohort_folder, "--rows", "full", "--seeds", "0"))
    run.main(arguments(place, cohort_folder, "--rows", "full", "reconstruction_only", "supervised", "--seeds", "1"))
    return place


def of(place: Path, row: str, seed: int) -> list[dict[str, str]]:
    return [line for line in lines(place) if (line["row"], line["seed"]) == (row, str(seed))]


@pytest.mark.slow
def test_a_row_sees_its_ecgs_at_the_learning_rate_that_the_last_fold_prefers(compared, cohort_folder):
    protocol = json.loads((compared / "results_protocol.json").read_text())
    validated = protocol["validation"]["full"]
    assert set(validated) == {"0.001", "0.0001"}
    chosen = max(validated, key=validated.get)
    records = load_dataset_folder(cohort_folder)["train"]
    steps = round(PASSES * rows.read_row("full", compared / "base.json")["passes_factor"] * len(records) / 16)
    assert steps > 1
    found = of(compared, "full", 0)
    assert {(line["steps"], line["learning_rate"]) for line in found} == {(str(steps), chosen)}
    model = compared / "work" / "full" / "seed_0" / "model"
    written = json.loads((model / "training_arguments.json").read_text())
    assert (written["max_train_steps"], written["learning_rate"]) == (steps, float(chosen))
    tuning = load_dataset_folder(compared / "work" / "tuning")
    assert set(tuning["validation"]["fold"]) == {max(records["fold"])}
    held = [*tuning["train"]["record_id"], *tuning["validation"]["record_id"]]
    assert sorted(held) == sorted(records["record_id"])
    assert not set(tuning["train"]["fold"]) & set(tuning["validation"]["fold"])


def test_steps_follow_from_the_ecgs_to_see(tmp_path):
    options = Namespace(dataset=None, output_dir=tmp_path, passes=12.0)
    one = object.__new__(run._One)
    one.options, one.batch_size = options, 64
    for row, steps in (({}, 600), ({"views": 2}, 300), ({"passes_factor": 2.5}, 1500)):
        one.row = row
        assert one._steps(3200, 1.0) == steps
        assert one._steps(3200, 1 / 3) == steps / 3


@pytest.mark.slow
def test_other_settings_are_refused(compared, cohort_folder):
    for option in ("--passes", "--learning_rates", "--fractions"):
        with pytest.raises(ConfigurationError, match=rf"results_protocol.json: .* with {option[2:]}"):
            run.main(arguments(compared, cohort_folder, "--rows", "full", option, "0.25"))


@pytest.mark.slow
def test_seeds_train_different_models(compared):
    one, two = (load_file(compared / "work" / "full" / f"seed_{s}" / "model" / "model.safetensors") for s in (0, 1))
    name = "ecg_model.layers.0.feed_forward.fc1.weight"
    assert not (one[name] == two[name]).any()


@pytest.mark.slow
def test_measures_are_those_that_mean_something(compared):
    names = {row: [line["measure"] for line in of(compared, row, 1)] for row in ("reconstruction_only", "supervised")}
    assert names == {"reconstruction_only": READOUTS, "supervised": ["supervised"]}
    assert [line["measure"] for line in of(compared, "full", 1)] == ["zero-shot", *READOUTS]


@pytest.mark.slow
def test_the_supervised_row_is_scored_by_its_own_classifier(compared, cohort_folder):
    model = CGDMERForECGClassification.from_pretrained(compared / "work" / "supervised" / "seed_1" / "supervised")
    assert all(label.startswith("simulated ") for label in model.config.label2id)
    table = pyarrow.parquet.read_table(compared / "work" / "supervised" / "seed_1" / "simulated" / "scores.parquet")
    columns = {name: table.column(name).to_numpy() for name in ("class", "label", "supervised")}
    areas = []
    for name in set(columns["class"]):
        labels, scores = (columns[column][columns["class"] == name] for column in ("label", "supervised"))
        areas += [roc_auc_score(labels, scores)] if labels.any() and not labels.all() else []
    assert float(of(compared, "supervised", 1)[0]["macro_auroc"]) == pytest.approx(np.mean(areas))


@pytest.mark.slow
def test_classes_stand_for_labels_in_every_task(compared, cohort_folder):
    before = load_dataset_folder(cohort_folder)["test"]
    after = load_dataset_folder(compared / "work" / f"{cohort_folder.name}_of_classes")["test"]
    assert [sorted(f"simulated {label}" for label in row) for row in before["labels"]] == [
        sorted(row) for row in after["labels"]
    ]
    assert before["record_id"] == after["record_id"] and supervised.SUPERVISED == "supervised"


@pytest.mark.slow
def test_the_summary_has_every_row_and_the_figures_of_the_file(compared, capsys):
    summary.main(["--csv", str(compared / "results.csv")])
    text = capsys.readouterr().out
    mean = np.mean([float(line["macro_auroc"]) for seed in (0, 1) for line in of(compared, "full", seed)[:1]])
    assert f"| full, 2 seeds | {mean:.3f} (" in text
    assert "### supervised, macro AUROC minus that of full (linear probe 100 %)" in text
    assert "| reconstruction_only, 1 seed |" in text and "not a medical device" in text.lower()


@pytest.mark.parametrize(("name", "text"), [("six_minutes", "summary.md"), ("results", "results_summary.md")])
def test_the_committed_summary_is_that_of_the_committed_draws(name, text, capsys):
    results = FOLDER / f"{name}.csv"
    summary.main(["--csv", str(results)])
    assert capsys.readouterr().out == (FOLDER / text).read_text()
    measured = {(line["row"], line["seed"]) for line in run.read_lines(results)}
    assert {tuple(path.stem.rsplit("-", 1)) for path in (FOLDER / f"{name}_draws").iterdir()} == measured
    for line in run.read_lines(results):
        draws = load_numpy(intervals.draws_file(results, line["row"], line["seed"]))
        own = draws[f"{line['task']}/{line['measure']}"]
        assert own[0] == pytest.approx(float(line["frequent_macro_auroc"]), abs=1e-6)


def test_the_figure_has_each_row_by_each_measure(tmp_path):
    results = FOLDER / "six_minutes.csv"
    figure.main(["--csv", str(results), "--output", str(tmp_path / "figure.png")])
    assert (tmp_path / "figure.png").stat().st_size > 5_000
    found = {
        (row, measure): intervals.over_seeds(one)
        for (measure, row, task), one in intervals.read_draws(results).items()
        if task == "ptbxl-super" and measure in figure.SHOWN
    }
    panels = {panel.get_title(): panel for panel in figure.comparison_figure(found, "ptbxl-super").axes}
    assert len(found) > 40 and panels.keys() == {measure.removesuffix(" 100 %") for _, measure in found}
    for (row, measure), one in found.items():
        drawn = {line.get_gid(): line for line in panels[measure.removesuffix(" 100 %")].collections}
        (segment,) = drawn[f"{row} {measure}"].get_segments()
        np.testing.assert_allclose(segment[:, 0], one.interval())


# The statistics of the summary.


def planted(place: Path, row: str, seed: int, quality: float, records: int = 200) -> Evaluation:
    """Scores that follow the labels as closely as `quality` says; three probes of one measure. Their draws are
    written, and the scores returned."""
    labels = np.random.default_rng(0).random((records, 4)) < 0.3
    random = np.random.default_rng([seed, int(100 * quality)])
    scores = {"zero-shot": quality * labels + random.normal(size=(1, *labels.shape))}
    scores["linear probe 1 %"] = quality * labels + random.normal(size=(3, *labels.shape))
    ids = [f"r{number}" for number in range(records)]
    patients = [f"p{number // 2}" for number in range(records)]
    evaluation = Evaluation({}, ids, patients, labels, scores, np.zeros((records, 0)))
    intervals.write_draws(intervals.draws_file(place / "results.csv", row, seed), {"simulated": evaluation})
    return evaluation


def of_row(place: Path, row: str, measure: str = "zero-shot") -> dict[int, np.ndarray]:
    return intervals.read_draws(place / "results.csv")[measure, row, "simulated"]


def difference(place: Path, row: str, other: str) -> intervals.OverSeeds:
    one, two = of_row(place, row), of_row(place, other)
    return intervals.over_seeds({seed: one[seed] - two[seed] for seed in one})


def test_figures_are_means_over_seeds_and_probes(tmp_path):
    both = [planted(tmp_path, "full", seed, 1.0) for seed in range(2)]
    for measure, probes in (("zero-shot", 1), ("linear probe 1 %", 3)):
        areas = [roc_auc_score(one.labels, scores) for one in both for scores in one.scores[measure]]
        assert len(areas) == 2 * probes
        assert intervals.over_seeds(of_row(tmp_path, "full", measure)).value == pytest.approx(np.mean(areas))


def test_a_draw_is_the_area_of_the_drawn_patients_records(tmp_path):
    """The n-th draw again, record by record, from the same random numbers."""
    one = planted(tmp_path, "full", 0, 1.0)
    found = intervals.read_draws(tmp_path / "results.csv")["zero-shot", "full", "simulated"][0]
    random = np.random.default_rng(0)
    records = [np.flatnonzero(np.array(one.patients) == patient) for patient in np.unique(one.patients)]
    for number in range(1, 4):
        drawn = np.concatenate([records[who] for who in random.integers(100, size=100)])
        assert found[number] == pytest.approx(roc_auc_score(one.labels[drawn], one.scores["zero-shot"][0][drawn]))


def test_a_better_row_is_told_from_an_equal_one(tmp_path):
    for row, quality in (("good", 1.5), ("again", 1.5), ("bad", 0.5)):
        for seed in range(3):
            planted(tmp_path, row, seed, quality)
    better, equal = difference(tmp_path, "good", "bad"), difference(tmp_path, "good", "again")
    low, high = better.interval()
    assert 0 < low < better.value < high
    assert better.p_value() < 0.01
    assert (equal.value, equal.interval(), equal.p_value()) == (0.0, [0.0, 0.0], 1.0)


def test_seeds_that_differ_widen_the_interval(tmp_path):
    for seed, quality in enumerate((0.4, 1.0, 1.6)):
        planted(tmp_path, "alike", seed, 1.0)
        planted(tmp_path, "apart", seed, quality)
    widths = [np.ptp(intervals.over_seeds(of_row(tmp_path, row)).interval()) for row in ("alike", "apart")]
    assert widths[1] > 1.5 * widths[0]


def by_seed(random: np.random.Generator, of_seeds: float, of_patients: float, of_both: float) -> dict[int, np.ndarray]:
    """Three seeds and draws of a row whose true value is zero, with these standard deviations: of the seeds, of the
    patients, and of what each seed makes of the patients."""
    values = (
        of_seeds * random.normal(size=(3, 1)) + of_patients * random.normal() + of_both * random.normal(size=(3, 1))
    )
    draws = values + of_patients * random.normal(size=100) + of_both * random.normal(size=(3, 100))
    return dict(enumerate(np.concatenate([values, draws], axis=1)))


@pytest.mark.parametrize("deviations", [(0, 0.1, 0.03), (0.05, 0.1, 0.05), (0.1, 0.02, 0.02), (0.2, 0.01, 0.1)])
def test_three_seeds_hold_the_true_value_about_as_often_as_they_say(deviations):
    """As many seeds as the rows have. Percentiles of drawn seeds and patients hold it in as little as 85 %."""
    random = np.random.default_rng(0)
    found = [intervals.over_seeds(by_seed(random, *deviations)) for _ in range(1000)]
    held = np.mean([low <= 0 <= high for low, high in (one.interval() for one in found)])
    assert 0.93 <= held <= 0.98
    assert np.mean([one.p_value() < 0.05 for one in found]) == pytest.approx(1 - held)


def test_one_seed_has_the_variance_of_patients():
    draws = np.random.default_rng(0).normal(0.8, 0.02, size=2001)
    one = intervals.over_seeds({7: np.concatenate([[0.8], draws])})
    assert one.interval() == pytest.approx([0.8 - 1.96 * 0.02, 0.8 + 1.96 * 0.02], abs=0.002)


def test_seeds_without_a_difference_have_the_variance_of_patients_too():
    """Three seeds that the same patients deceive in the same way say as much as one."""
    draws = np.random.default_rng(0).normal(0.8, 0.02, size=501)
    one, three = (intervals.over_seeds(dict.fromkeys(range(count), draws)) for count in (1, 3))
    assert three.interval() == pytest.approx(one.interval())


def test_a_difference_is_that_of_common_seeds_and_has_no_p_from_one(tmp_path, capsys):
    for seed in (0, 1, 2):
        planted(tmp_path, "full", seed, 1.0)
    for seed in (1, 2, 7):
        planted(tmp_path, "two", seed, 1.5)
    planted(tmp_path, "one", 0, 1.0)
    summary.main(["--csv", str(tmp_path / "results.csv")])
    table = capsys.readouterr().out.split("minus that of full (zero-shot)")[1]
    found = intervals.read_draws(tmp_path / "results.csv")
    full, two = (found["zero-shot", row, "simulated"] for row in ("full", "two"))
    by = np.mean([two[seed][0] - full[seed][0] for seed in (1, 2)])
    assert re.search(rf"\| two, 2 seeds \| \+{by:.3f} \(.*\), p <?0\.\d+ \|", table)
    assert "| one, 1 seed | +0.000 (+0.000 to +0.000) |" in table


def test_rare_classes_have_no_part_in_draws():
    random = np.random.default_rng(0)
    labels = random.random((300, 3)) < [0.3, 0.5, 0.0]
    labels[:9, 2] = True
    scores, patients = random.normal(size=(1, 300, 3)), [str(number) for number in range(300)]
    found = intervals.macro_aurocs(labels, scores, patients, 5)
    assert found[0] == pytest.approx(roc_auc_score(labels[:, :2], scores[0, :, :2]))
    rare = intervals.macro_aurocs(labels[:, 2:], scores[..., 2:], patients, 5)
    assert rare[0] == pytest.approx(roc_auc_score(labels[:, 2], scores[0, :, 2]))


def test_draws_of_other_records_are_refused(tmp_path):
    planted(tmp_path, "full", 0, 1.0)
    planted(tmp_path, "other", 1, 1.0, records=100)
    with pytest.raises(CorpusError, match=r"other-1\.safetensors: its records or labels of simulated"):
        intervals.read_draws(tmp_path / "results.csv")


def test_without_a_linear_probe_supervised_training_stands_by_itself(tmp_path, capsys):
    labels = np.random.default_rng(0).random((60, 2)) < 0.5
    ids = [f"r{number}" for number in range(60)]
    for row, measure in (("full", "zero-shot"), ("contrast_only", "zero-shot"), ("supervised", "supervised")):
        scores = {measure: np.random.default_rng(1).normal(size=(1, 60, 2))}
        evaluation = Evaluation({}, ids, ids, labels, scores, np.zeros((60, 0)))
        intervals.write_draws(intervals.draws_file(tmp_path / "results.csv", row, 0), {"simulated": evaluation})
    summary.main(["--csv", str(tmp_path / "results.csv")])
    tables = dict(part.split("\n", 1) for part in capsys.readouterr().out.split("### ")[1:])
    assert "| contrast_only, 1 seed | +0.000" in tables["zero-shot, macro AUROC minus that of full (zero-shot)"]
    assert "| supervised, 1 seed |" in tables["supervised, macro AUROC"]
    assert "| supervised, 1 seed |" not in tables["supervised, macro AUROC minus that of full (linear probe 100 %)"]
