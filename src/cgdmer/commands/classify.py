# SPDX-License-Identifier: Apache-2.0
"""Score findings for one recording."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cgdmer.about import RESEARCH_USE_ONLY
from cgdmer.commands._arguments import (
    LABELS_HELP,
    RECORD_HELP,
    Leads,
    Positional,
    abstain_option,
    force_unknown_option,
    lead_names_option,
    leads_option,
    model_option,
    read_recording,
    sampling_rate_option,
    unit_option,
)
from cgdmer.models.errors import ConfigurationError
from cgdmer.options import option

DESCRIPTION = f"""\
Scores every label independently, unless --exclusive is given. A fine-tuned classifier scores its own labels
as it was trained, and a regression gives values instead of scores. {RESEARCH_USE_ONLY}"""


@dataclass
class Arguments:
    record: Positional = option(RECORD_HELP)
    labels: list[str] | None = option(LABELS_HELP, None)
    leads: Leads = leads_option()
    lead_names: list[str] | None = lead_names_option()
    sampling_rate: float | None = sampling_rate_option()
    unit: str | None = unit_option()
    model: str | None = model_option()
    exclusive: bool = option("the labels exclude each other, so the scores sum to 1", False)
    force_unknown: bool = force_unknown_option()
    abstain: float | None = abstain_option()
    scores_only: bool = option("neither measure the signal nor compare it with the training recordings", False)
    plot: str | None = option("a picture to write, of the recording with its scores", None, metavar="PICTURE")


def run(arguments: Arguments, say: Callable[..., None]) -> dict[str, Any]:
    if arguments.plot:
        from cgdmer.plotting.ecg_paper import check_picture_path, save_ecg_plot

        check_picture_path(arguments.plot)
    if arguments.exclusive and len(arguments.labels or ()) < 2:
        raise ConfigurationError("--exclusive needs labels to choose among. Name at least two.")
    from cgdmer.inference import familiarity
    from cgdmer.inference.scorers import abstains, check_abstention, load_scorer, taken_for, without_unknown
    from cgdmer.measurement.remarks import remarks_on

    record = read_recording(arguments)
    scorer = load_scorer(arguments.model)
    check_abstention(arguments.abstain, scorer)
    scores = scorer(record, arguments.labels, arguments.exclusive)
    if not arguments.force_unknown:
        scores = without_unknown(scores)
    use = scorer.feature_extractor.use_of(record)
    familiar = scorer.familiarity_of(record) if arguments.abstain or not arguments.scores_only else None
    abstained = abstains(arguments.abstain, use, familiar)
    if abstained:
        scores = [{**row, "score": None} for row in scores]
    rows = () if scorer.is_regression or arguments.exclusive else scores  # exclusive ones only rank
    measured, remarks = (None, []) if arguments.scores_only else remarks_on(record, rows)
    said = [*([] if use.is_beyond_doubt else [str(use)]), *familiarity.in_words(familiar, arguments.abstain)]
    if arguments.plot:
        scored = [row for row in scores if row["score"] is not None]
        notes = [*said, *([] if measured is None else remarks)]
        save_ecg_plot(record, arguments.plot, scores=scored, are_values=scorer.is_regression, notes=notes)
    for row in scores:
        note = taken_for(row)
        say(f"{scorer.shown(row['score']):>7}  {row['label']}{f'  ({note})' if note else ''}")
    if abstained:
        say("No scores (--abstain), for the reasons below.")
    for line in (*said, *remarks):
        say(line)
    return {
        "record": arguments.record,
        "problem_type": scorer.problem_type,
        "scores": scores,
        "record_use": use.as_json(),
        "familiarity": familiar,
        "abstained": abstained,
        "measured": None if measured is None else measured.as_json(),
        "remarks": remarks,
        "note": RESEARCH_USE_ONLY,
    }
