# SPDX-License-Identifier: Apache-2.0
"""`cgdmer explain`: which leads and moments a score comes from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cgdmer.about import RESEARCH_USE_ONLY
from cgdmer.commands._arguments import RECORD_HELP, Leads, Positional, leads_option, model_option
from cgdmer.options import option

HELP = "which leads and moments a score comes from"
DESCRIPTION = f"""\
Relevance of each lead and patch for the score of LABEL (integrated gradients), how far occlusion agrees,
and a picture on ECG paper. A recording longer than the model's window is explained where its score is
highest. --json prints all figures. {RESEARCH_USE_ONLY}"""


@dataclass
class Arguments:
    record: Positional = option(RECORD_HELP)
    label: str = option('e.g. "premature ventricular beats"')
    leads: Leads = leads_option()
    model: str | None = model_option()
    plot: str = option("where to draw it", "relevance.png", metavar="PICTURE")


def run(arguments: Arguments, say: Callable[..., None]) -> dict[str, Any]:
    from cgdmer.explanation.explaining import explain_recording
    from cgdmer.explanation.painting import save_explanation_plot
    from cgdmer.plotting.ecg_paper import check_picture_path

    check_picture_path(arguments.plot)
    explanation = explain_recording(arguments.record, arguments.label, arguments.model, leads=arguments.leads)
    save_explanation_plot(explanation, arguments.plot)
    say(f"{explanation.score:7.1%}  {explanation.label}")
    for lead, share in explanation.share_by_lead().items():
        say(f"{share:7.1%}  of what raises it is in {lead}")
    if explanation.agreement is not None:
        say(f"{explanation.agreement:7.2f}  rank correlation with occlusion")
    say(f"drawn to {arguments.plot}")
    say(RESEARCH_USE_ONLY)
    return {**explanation.as_json(), "record": arguments.record, "picture": arguments.plot}
