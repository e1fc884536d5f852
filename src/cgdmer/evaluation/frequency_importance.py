# SPDX-License-Identifier: Apache-2.0
"""A figure of what CoRe-ECG has learned about frequencies."""

import os

from matplotlib.figure import Figure

from cgdmer.models.errors import ModelFolderError
from cgdmer.models.leads import STANDARD_LEADS
from cgdmer.models.modeling_coreecg import CoReECGForPreTraining
from cgdmer.plotting.figure_page import COLORS, GRID_COLOR, house_style, save


def draw_frequency_importance(path: str | os.PathLike[str], model: CoReECGForPreTraining) -> None:
    """Draw the learned importance of each bin of the spectrum, a curve per map; the protected band is shaded.

    Args:
        path: the file to write: PNG, SVG, or PDF.
        model: `CoReECGForPreTraining.from_pretrained(RUN)`; models of other classes have no map.

    Raises:
        ModelFolderError: the model has no map.
    """
    save(importance_figure(model), path)


def importance_figure(model: CoReECGForPreTraining) -> Figure:
    augmentation = getattr(model, "frequency_augmentation", None)
    if augmentation is None:
        raise ModelFolderError("the model learns no importance: its frequency_augmentation is False.")
    frequencies = augmentation.frequencies().cpu().numpy()
    importance = augmentation.importance().detach().float().cpu().numpy()
    with house_style():
        figure = Figure(figsize=(4.4, 2.6), layout="constrained")
        axes = figure.add_subplot()
        protected = frequencies[augmentation.protected().cpu().numpy()]
        if len(protected):
            axes.axvspan(protected[0], protected[-1], color=GRID_COLOR, gid="protected", label="protected")
        for number, curve in enumerate(importance):
            name = STANDARD_LEADS[number] if len(importance) > 1 else "all leads"
            style = "-" if number < len(COLORS) else "--"
            axes.plot(frequencies, curve, style, color=COLORS[number % len(COLORS)], linewidth=0.9, label=name)
        axes.set(xlabel="Hz", ylabel="importance", ylim=(-0.02, 1.02), xlim=(0, frequencies[-1]))
        axes.set_title("Learned importance of frequencies")
        axes.legend(loc="lower right", fontsize="x-small", ncols=2 if len(importance) > 1 else 1)
    return figure
