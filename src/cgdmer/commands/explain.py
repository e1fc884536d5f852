# SPDX-License-Identifier: Apache-2.0
"""Show which leads and moments a score comes from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cgdmer.about import RESEARCH_USE_ONLY
from cgdmer.commands._arguments import (
    PLOT_HELP,
    RECORD_HELP,
    Leads,
    Positional,
    lead_names_option,
    leads_option,
    model_option,
    read_recording,
    sampling_rate_option,
    unit_option,
)
from cgdmer.options import option

DESCRIPTION = f"""\
Computes the relevance of each lead and patch for the score of LABEL (integrated gradients), checks it
against occlusion, and draws it on ECG paper. If the recording is longer than the model's window, the window
with the highest score is explained. --json prints all values. {RESEARCH_USE_ONLY}"""


@dataclass
class Arguments:
    record: Positional = option(RECORD_HELP)
    label: str | None = option(
        'a finding in free text, e.g. "premature ventricular beats"; of a fine-tuned classifier, one of its labels '
        "(default: the one with the highest score)",
        None,
    )
    leads: Leads = leads_option()
    lead_names: list[str] | None = lead_names_option()
    sampling_rate: float | None = sampling_rate_option()
    unit: str | None = unit_option()
    model: str | None = model_option()
    plot: str = option(PLOT_HELP, "relevance.png", metavar="PICTURE")


def run(arguments: Arguments, say: Callable[..., None]) -> dict[str, Any]:
    from cgdmer.explanation.explaining import explain_recording
    from cgdmer.explanation.painting import save_explanation_plot
    from cgdmer.plotting.ecg_paper import check_picture_path

    check_picture_path(arguments.plot)
    explanation = explain_recording(read_recording(arguments), arguments.label, arguments.model)
    save_explanation_plot(explanation, arguments.plot)
    say(f"{explanation.shown(explanation.score):>7}  {explanation.label}")
    for lead, share in explanation.share_by_lead().items():
        say(f"{share:7.1%}  of what raises it is in {lead}")
    if explanation.agreement is not None:
        say(f"{explanation.agreement:7.2f}  rank correlation with occlusion")
    if explanation.record_use is not None and not explanation.record_use.is_beyond_doubt:
        say(explanation.record_use)
    say(f"drawn to {arguments.plot}")
    return {**explanation.as_json(), "record": arguments.record, "picture": arguments.plot}
