# SPDX-License-Identifier: Apache-2.0
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.tracking import get_available_trackers
from accelerate.utils import LoggerType
from matplotlib.image import imread
from pretraining_runs import changed_weights, metrics, pretrain

from cgdmer.data.storage import load_dataset_folder
from cgdmer.models.errors import ConfigurationError, CorpusError
from cgdmer.models.leads import STANDARD_LEADS
from cgdmer.models.objectives import reconstruction_loss
from cgdmer.models.pretraining_cgdmer import CGDMERForPreTraining, CGDMERForPreTrainingOutput
from cgdmer.models.processing_ecg import ECGProcessor
from cgdmer.options import default_of
from cgdmer.pretrain import parse_arguments
from cgdmer.training.arguments import PretrainingArguments
from cgdmer.training.pairs import PairCollator, PairDataset
from cgdmer.training.reconstruction_figure import Reconstruction, reconstruction_figure
from cgdmer.training.setup import model_and_processor
from cgdmer.training.training_curve import History, draw_training_curve, training_curve_figure
from cgdmer.training.watching import MOST_RECORDS, reconstructions


def line_of(axes, gid: str) -> tuple[np.ndarray, np.ndarray]:
    (line,) = [line for line in axes.lines if line.get_gid() == gid]
    return np.asarray(line.get_xdata()), np.asarray(line.get_ydata())


def axes_of(figure, gid: str):
    (axes,) = [axes for axes in figure.axes if axes.get_gid() == gid]
    return axes


def texts(figure, gid: str) -> list[str]:
    return [text.get_text() for text in figure.findobj() if hasattr(text, "get_text") and text.get_gid() == gid]


# Reconstructions


@pytest.fixture(scope="module")
def validated(
    cohort_folder, small_preset
) -> tuple[CGDMERForPreTraining, ECGProcessor, dict, CGDMERForPreTrainingOutput]:
    """An untrained model that reconstructs normalized patches, and a batch of validation records through it."""
    options = parse_arguments(["--dataset", "d", "--config_name", str(small_preset), "--output_dir", "o"])
    torch.manual_seed(0)
    model, processor = model_and_processor(options)
    model.config.ecg_config.normalize_patches = True
    split = load_dataset_folder(str(cohort_folder))["validation"]
    pairs = PairDataset(split, processor.feature_extractor, fixed_epoch=0)
    batch = PairCollator(processor.tokenizer)([pairs[index] for index in range(5)])
    batch["lead_mask"] = torch.ones(5, len(STANDARD_LEADS), dtype=torch.int64)
    batch["lead_mask"][1, STANDARD_LEADS.index("V1")] = 0
    batch["patch_mask"] = torch.ones(5, 25, dtype=torch.int64)
    batch["patch_mask"][2, 20:] = 0
    with torch.no_grad():
        outputs = model.eval()(**batch)
    assert model.config.ecg_config.normalize_patches and outputs.reconstructed_patches.any(dim=-1).all()
    return model, processor, batch, outputs


def test_a_perfect_prediction_is_drawn_on_the_trace_in_millivolts(validated):
    model, processor, batch, outputs = validated
    patches = batch["ecg_values"].unflatten(-1, (-1, 40))
    spread = torch.sqrt(patches.var(dim=-1, keepdim=True, unbiased=False) + 1e-6)
    perfect = (patches - patches.mean(dim=-1, keepdim=True)) / spread
    assert reconstruction_loss(perfect, batch["ecg_values"], outputs.bool_masked_pos, True) < 1e-10
    seen = CGDMERForPreTrainingOutput(reconstructed_patches=perfect, bool_masked_pos=outputs.bool_masked_pos)
    records = reconstructions(batch, seen, processor, model.config.ecg_config)
    assert len(records) == MOST_RECORDS
    for number, record in enumerate(records):
        np.testing.assert_allclose(record.predicted, record.true, atol=1e-5)
        np.testing.assert_allclose(record.true.reshape(12, -1), 0.2 * batch["ecg_values"][number], rtol=1e-6)
        assert np.array_equal(record.masked, outputs.bool_masked_pos[number])
    assert not records[1].present[STANDARD_LEADS.index("V1")].any() and not records[2].present[:, 20:].any()


def test_reports_are_printed_where_they_were_asked_for(validated):
    model, processor, batch, outputs = validated
    records = reconstructions(batch, outputs, processor, model.config.ecg_config, shows_texts=True)
    printed = texts(reconstruction_figure(records, 100, "Step 7"), "record text")
    said = processor.tokenizer.batch_decode(batch["input_ids"][:MOST_RECORDS], skip_special_tokens=True)
    for line, text in zip(printed, said, strict=True):
        letters = text.replace(" ##", "").replace(" ", "")
        assert len(line) > 10 and letters.startswith(line.removesuffix(" …").replace(" ", ""))
    assert not default_of(PretrainingArguments, "show_report_texts")


@pytest.mark.parametrize("normalization", ["fixed", "centered"])
def test_where_amplitudes_are_kept_records_are_drawn_in_millivolts(validated, normalization):
    model, processor, batch, outputs = validated
    settings = processor.feature_extractor.to_dict() | {"normalization": normalization}
    extractor = type(processor.feature_extractor)(**settings)
    other = ECGProcessor(extractor, processor.tokenizer)
    record = reconstructions(batch, outputs, other, model.config.ecg_config)[0]
    np.testing.assert_allclose(record.true.reshape(12, -1), 0.2 * batch["ecg_values"][0], rtol=1e-6)


def test_raw_patches_are_only_scaled_to_millivolts(validated):
    model, processor, batch, outputs = validated
    plain = type(model.config.ecg_config)(**{**model.config.ecg_config.to_dict(), "normalize_patches": False})
    record = reconstructions(batch, outputs, processor, plain)[0]
    np.testing.assert_allclose(record.predicted, 0.2 * outputs.reconstructed_patches[0], rtol=1e-6)


def test_other_normalizations_keep_the_units_of_the_model(validated):
    model, processor, batch, outputs = validated
    extractor = type(processor.feature_extractor)(
        sampling_rate=100, num_samples=1000, patch_length=40, normalization="zscore_lead"
    )
    other = ECGProcessor(extractor, processor.tokenizer)
    record = reconstructions(batch, outputs, other, model.config.ecg_config)[0]
    np.testing.assert_array_equal(record.true.reshape(12, -1), batch["ecg_values"][0])


def test_the_picture_holds_the_traces_the_masks_and_the_errors(validated):
    model, processor, batch, outputs = validated
    records = reconstructions(batch, outputs, processor, model.config.ecg_config)
    figure = reconstruction_figure(records, 100, "Step 7", notes=["A note."])
    assert texts(figure, "record text") == [""] * MOST_RECORDS  # nobody asked for the reports of people
    assert texts(figure, "title") == ["Step 7"] and "A note." in texts(figure, "notes")[0]
    shown = [axes.get_gid() for axes in figure.axes]
    assert shown[:3] == [f"record 0 lead {lead}" for lead in ("II", "V1", "V5")]
    assert shown[3:6] == [f"record 1 lead {lead}" for lead in ("I", "II", "V5")]  # it has no V1
    errors = texts(figure, "error")
    for axes, error in zip(figure.axes, errors, strict=True):
        _, number, _, name = axes.get_gid().split()
        record, lead = records[int(number)], STANDARD_LEADS.index(name)
        masked = np.repeat(record.masked[lead], 40)
        times, predicted = line_of(axes, "predicted")
        np.testing.assert_allclose(times, np.arange(1000) / 100)
        assert np.array_equal(np.isfinite(predicted), masked)
        np.testing.assert_array_equal(predicted[masked], record.predicted[lead].ravel()[masked])
        recorded = line_of(axes, "recorded")[1]
        present = np.repeat(record.present[lead], 40)
        assert np.array_equal(np.isfinite(recorded), present)
        np.testing.assert_array_equal(recorded[present], record.true[lead].ravel()[present])
        (shades,) = [shade for shade in axes.collections if shade.get_gid() == "masked"]
        shaded = np.zeros(1000, dtype=bool)
        for path in shades.get_paths():
            first, last = path.vertices[:, 0].min(), path.vertices[:, 0].max()
            shaded |= (times >= first - 1e-9) & (times < last - 1e-9)
        assert np.array_equal(shaded, masked)
        differences = (record.predicted[lead] - record.true[lead]).ravel()[masked]
        assert error == f"{np.sqrt(np.mean(differences**2)):.2f} mV"
        low, high = axes.get_ylim()
        assert low < np.nanmin(recorded) and np.nanmax(recorded) < high


def test_the_scale_does_not_depend_on_the_prediction(validated):
    model, processor, batch, outputs = validated
    record = reconstructions(batch, outputs, processor, model.config.ecg_config)[0]
    wild = Reconstruction(record.true, 100 * record.predicted, record.masked, record.present, record.text)
    calm, stormy = (reconstruction_figure([one], 100, "t") for one in (record, wild))
    assert [axes.get_ylim() for axes in calm.axes] == [axes.get_ylim() for axes in stormy.axes]


def test_leads_with_masked_patches_are_shown_first():
    trace = np.random.default_rng(0).normal(size=(12, 5, 4))
    masked = np.zeros((12, 5), dtype=bool)
    masked[[3, 7, 11]] = True
    record = Reconstruction(trace, trace, masked, np.ones_like(masked), "")
    assert record.leads() == [3, 7, 11]


# Training curve


def write_metrics(path: Path, lines: list[dict], end: str = "") -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + end)
    return path


def test_the_curve_of_a_resumed_run_leaves_out_what_was_repeated(tmp_path):
    """Killed at step 40, resumed from step 20: steps 30 and 40 were trained twice."""
    first = [{"step": step, "loss": 100.0 + step, "learning_rate": 0.1} for step in (10, 20, 30, 40)]
    first.insert(2, {"step": 20, "validation_loss": 7.0, "validation_recall_at_1": 0.1, "validation_candidates": 50.0})
    first.append({"step": 40, "validation_loss": 8.0})
    second = [{"step": step, "loss": float(step), "learning_rate": 0.2} for step in (30, 45)]
    history = History.read(write_metrics(tmp_path / "metrics.jsonl", first + second))
    assert history["loss"] == ([10, 20, 30, 45], [110.0, 120.0, 30.0, 45.0])
    assert history["validation_loss"] == ([20], [7.0])  # that of step 40 belongs to the abandoned run

    figure = training_curve_figure(history)
    assert [axes.get_gid() for axes in figure.axes] == ["loss", "learning_rate", "recall"]
    losses, rate, recall = figure.axes
    np.testing.assert_array_equal(line_of(losses, "training"), ([10, 20, 30, 45], [110.0, 120.0, 30.0, 45.0]))
    np.testing.assert_array_equal(line_of(losses, "validation"), ([20], [7.0]))
    np.testing.assert_array_equal(line_of(rate, "training")[1], [0.1, 0.1, 0.2, 0.2])
    np.testing.assert_array_equal(line_of(recall, "recall at 1"), ([20], [0.1]))
    np.testing.assert_allclose(line_of(recall, "chance"), ([20], [0.2]))


def test_half_a_line_is_counted_and_named_on_the_page(tmp_path):
    path = write_metrics(tmp_path / "metrics.jsonl", [{"step": 1, "loss": 2.0}], end='{"step": 2, "lo')
    history = History.read(path)
    assert (history["loss"], history.unreadable) == (([1], [2.0]), 1)
    assert "cannot be read: 1" in texts(training_curve_figure(history), "notes")[0]


def test_no_loss_no_curve(tmp_path):
    with pytest.raises(CorpusError, match="holds no loss"):
        draw_training_curve(tmp_path / "curve.png", write_metrics(tmp_path / "metrics.jsonl", []))


# A run


@pytest.fixture(scope="module")
def train(cohort_folder, make_preset) -> Callable[..., Path]:
    """Two epochs with dropout: a random number drawn by a validation would change the second."""
    preset = make_preset(projection_dropout=0.2)
    epochs = ("--num_train_epochs", "2", "--per_device_train_batch_size", "32")
    return lambda folder, *more: pretrain(cohort_folder, preset, folder, *epochs, *more)


@pytest.fixture(scope="module")
def run(train, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("watched") / "run"
    stale = folder / "reconstructions" / "step_000999.png"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"of an earlier run")
    return train(folder)


def test_every_validation_leaves_a_picture_ranks_and_the_curve(run):
    validations = [line for line in metrics(run) if "validation_loss" in line]
    pictures = sorted(path.name for path in (run / "reconstructions").iterdir())
    assert pictures == [f"step_{line['step']:06d}.png" for line in validations] and len(pictures) == 2
    for line in validations:
        recalls = [line[f"validation_recall_at_{limit}"] for limit in (1, 5, 10)]
        assert recalls == sorted(recalls)
        assert 1 <= line["validation_median_rank"] <= line["validation_text_to_ecg_candidates"] <= 8  # records
    assert np.ptp(imread(run / "training_curve.png")) == 1.0


def test_training_is_bit_equal_without_watching(run, train, tmp_path, monkeypatch):
    for method in ("see", "after_validation"):
        monkeypatch.setattr(f"cgdmer.training.watching.Watcher.{method}", lambda *_: None)
    train(tmp_path, "--report_to", "none")
    assert not (tmp_path / "training_curve.png").exists()
    assert not changed_weights(run, tmp_path)


@pytest.mark.skipif(LoggerType.TENSORBOARD not in get_available_trackers(), reason="tensorboard is not installed")
def test_tensorboard_gets_the_metrics_and_the_pictures(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "cgdmer_pretrain")).Reload()
    lines = metrics(run)
    for name in ("loss", "validation_loss", "validation_recall_at_5"):
        logged = [(event.step, event.value) for event in events.Scalars(name)]
        assert logged == [(line["step"], pytest.approx(line[name], rel=1e-6)) for line in lines if name in line]
    logged = events.Images("reconstructions")
    for image, picture in zip(logged, sorted((run / "reconstructions").iterdir()), strict=True):
        assert picture.name == f"step_{image.step:06d}.png"
        (folder := run.parent / "logged").mkdir(exist_ok=True)
        (folder / picture.name).write_bytes(image.encoded_image_string)
        np.testing.assert_array_equal(imread(folder / picture.name)[..., :3], imread(picture)[..., :3])


def test_a_tracker_that_is_not_installed_is_refused_at_once(train, tmp_path):
    missing = sorted({kind.value for kind in LoggerType} - {kind.value for kind in get_available_trackers()} - {"all"})
    if not missing:
        pytest.skip("every tracker is installed")
    with pytest.raises(ConfigurationError, match=f"{missing[0]}.*not installed"):
        train(tmp_path / "run", "--report_to", missing[0])
    assert not os.listdir(tmp_path)


def test_signals_alone_leave_pictures_and_no_ranks(cohort_folder, make_preset, tmp_path):
    off = {f"{name}_loss_weight": 0 for name in ("contrastive", "siglip", "text_reconstruction", "orthogonality")}
    pretrain(cohort_folder, make_preset(**off), tmp_path, "--max_train_steps", "1", "--report_to", "none")
    assert (tmp_path / "reconstructions" / "step_000001.png").is_file()
    assert "rank" not in (tmp_path / "metrics.jsonl").read_text()
    assert not (tmp_path / "cgdmer_pretrain").exists()
