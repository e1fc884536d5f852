# SPDX-License-Identifier: Apache-2.0
"""Draw the pictures of the README and the site in docs/pictures/, from simulated recordings and the packaged model.

    python tools/pictures.py

Nothing in them comes from a person.
"""

from pathlib import Path

from PIL import Image

import cgdmer
from cgdmer.explanation.painting import save_explanation_plot
from cgdmer.inference.scorers import load_scorer
from cgdmer.plotting.ecg_paper import save_ecg_plot

PICTURES = Path(__file__).resolve().parent.parent / "docs" / "pictures"
LABELS = ["atrial fibrillation", "left bundle branch block", "normal ECG"]  # those of the README's first example
_COLORS = 128  # enough for grid, traces, and text; a third of the size
_DOTS_PER_INCH = 100.0


def shrink(path: Path) -> None:
    """Reduce a picture to a palette, which loses nothing that the eye sees in a line drawing."""
    Image.open(path).convert("RGB").quantize(_COLORS, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
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
    main()
