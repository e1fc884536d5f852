# SPDX-License-Identifier: Apache-2.0
"""Draw the pictures of the README and the site in docs/pictures/, from simulated recordings and the packaged model.

    python tools/pictures.py
    python tools/pictures.py RUN

RUN, a folder written by `cgdmer.pretrain` with reconstruction, draws how it restores masked patches; without it, that
picture stays as it is. Nothing in the pictures comes from a person.
"""

import sys
from pathlib import Path

import torch
from PIL import Image

import cgdmer
from cgdmer.explanation.painting import save_explanation_plot
from cgdmer.families import Purpose, class_for, config_of, ecg_config_of, load_feature_extractor
from cgdmer.inference.scorers import load_scorer
from cgdmer.plotting.ecg_paper import save_ecg_plot
from cgdmer.plotting.figure_page import save
from cgdmer.training.reconstruction_figure import reconstruction_figure
from cgdmer.training.watching import reconstructions

PICTURES = Path(__file__).resolve().parent.parent / "docs" / "pictures"
LABELS = ["atrial fibrillation", "left bundle branch block", "normal ECG"]  # those of the README's first example
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
    for name in ("scores.png", "relevance.png"):
        shrink(PICTURES / name)


if __name__ == "__main__":
    main(*sys.argv[1:])
