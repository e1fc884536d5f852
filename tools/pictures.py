# SPDX-License-Identifier: Apache-2.0
"""Draw the pictures of the README and the site in docs/pictures/, from simulated recordings and the packaged model.

    python tools/pictures.py
    python tools/pictures.py RUN

RUN, a folder written by `cgdmer.pretrain` with reconstruction, draws how it restores masked patches; without it, that
picture stays as it is. Nothing in the pictures comes from a person.
"""

import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

import cgdmer
from cgdmer.explanation.painting import save_explanation_plot
from cgdmer.families import Purpose, class_for, config_of, ecg_config_of, load_feature_extractor
from cgdmer.inference.scorers import load_scorer
from cgdmer.models.leads import STANDARD_LEADS
from cgdmer.plotting.ecg_paper import save_ecg_plot
from cgdmer.plotting.figure_page import COLORS, GRID_COLOR, house_style, save
from cgdmer.presets import SHIPPED_MODEL
from cgdmer.training.objectives.views import Change, View, crop, jitter, mask_leads, permute, scale, time_out
from cgdmer.training.reconstruction_figure import reconstruction_figure
from cgdmer.training.watching import reconstructions

PICTURES = Path(__file__).resolve().parent.parent / "docs" / "pictures"
LABELS = ["atrial fibrillation", "left bundle branch block", "normal ECG"]  # those of the README's first example
_DRAWN_LEADS, _SEED_OF_CHANGES = ("II", "V1", "V5"), 26
_COLORS = 128  # enough for grid, traces, and text; a third of the size
_DOTS_PER_INCH = 100.0


def shrink(path: Path) -> None:
    """Reduce a picture to a palette, which loses nothing that the eye sees in a line drawing."""
    Image.open(path).convert("RGB").quantize(_COLORS, dither=Image.Dither.NONE).save(path, optimize=True)


@torch.no_grad()
def draw_reconstruction(run: str, path: Path) -> None:
    """What a pretrained model makes of the visible patches of a simulated recording."""
    config = config_of(run)
    model = class_for(config, Purpose.PRETRAINING).from_pretrained(run).eval()
    processor, record = load_feature_extractor(run), cgdmer.simulate_record(["left_bundle_branch_block"], seed=3)
    batch = processor(record, return_tensors="pt")
    noise = torch.rand(1, 12, ecg_config_of(config).num_patches, generator=torch.Generator().manual_seed(0))
    shown = reconstructions(batch, model(**batch, noise=noise), processor, ecg_config_of(config))
    title = "Simulated left bundle branch block: 70% of the patches are masked, and restored from the others"
    save(reconstruction_figure(shown, ecg_config_of(config).sampling_rate, title), path)


def draw_changes(path: Path) -> None:
    """Three leads of a simulated recording, and what each random change makes of them; absent parts are pale."""
    record = cgdmer.simulate_record(["sinus_rhythm"], seed=5)
    extractor = load_feature_extractor(SHIPPED_MODEL)
    prepared = extractor(record)
    recorded = View.of({name: prepared[name][0] for name in extractor.model_input_names})
    changes: dict[str, Change | None] = {
        "recorded": None,
        "crop": crop,
        "time_out": time_out,
        "mask_leads": mask_leads,
    }
    changes |= {"scale": scale, "jitter": partial(jitter, deviation=0.15), "permute": permute}
    seconds = np.arange(extractor.num_samples) / extractor.sampling_rate
    with house_style():
        figure = Figure(figsize=(8.8, 5.6), layout="constrained")
        axes = figure.subplots(len(changes), len(_DRAWN_LEADS), sharex=True, sharey=True)
        for row, (name, change) in enumerate(changes.items()):
            view = recorded if change is None else change(recorded, torch.Generator().manual_seed(_SEED_OF_CHANGES))
            within_T = view.patch_mask.bool().repeat_interleave(extractor.patch_length)
            for column, lead in enumerate(_DRAWN_LEADS):
                number = STANDARD_LEADS.index(lead)
                seen_T = (within_T & view.lead_mask[number].bool()).numpy()
                values, cell = view.ecg_values[number].numpy() * extractor.fixed_millivolts, axes[row, column]
                cell.plot(seconds, values, color=GRID_COLOR, linewidth=0.6)
                cell.plot(seconds, np.where(seen_T, values, np.nan), color=COLORS[0], linewidth=0.7)
                cell.set(ylim=(-1.2, 2.2), yticks=[], xlim=(0, seconds[-1]))
                if row == 0:
                    cell.set_title(lead)
            axes[row, 0].set_ylabel(name, rotation=0, horizontalalignment="right", verticalalignment="center")
        for cell in axes[-1]:
            cell.set_xlabel("s")
        figure.suptitle("Random changes to a simulated recording (pale: absent for the encoder)")
    save(figure, path)


def main(run: str | None = None) -> None:
    PICTURES.mkdir(exist_ok=True)
    if run is not None:
        draw_reconstruction(run, PICTURES / "reconstruction.png")
        shrink(PICTURES / "reconstruction.png")
    fibrillating = cgdmer.simulate_record(["atrial_fibrillation"], seed=1)
    scores = load_scorer()(fibrillating, LABELS)
    title = "Simulated atrial fibrillation, scored by cgdmer-tiny-ptbxl"
    save_ecg_plot(fibrillating, PICTURES / "scores.png", title=title, scores=scores, dpi=_DOTS_PER_INCH)
    premature = cgdmer.simulate_record(["premature_ventricular_beats"], seed=2)
    explanation = cgdmer.explain_recording(premature, "premature ventricular beats")
    save_explanation_plot(explanation, PICTURES / "relevance.png", dpi=_DOTS_PER_INCH)
    draw_changes(PICTURES / "changes.png")
    for name in ("scores.png", "relevance.png", "changes.png"):
        shrink(PICTURES / name)


if __name__ == "__main__":
    main(*sys.argv[1:])
