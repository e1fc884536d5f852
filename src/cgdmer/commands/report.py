# SPDX-License-Identifier: Apache-2.0
"""Write a reading of one recording: measurements and findings, as text, JSON, FHIR, or a page to print."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cgdmer.about import RESEARCH_USE_ONLY
from cgdmer.commands._arguments import (
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
States the findings whose scores are above their thresholds, what was measured on the signal, and what the
recording did not allow. A recording that is damaged, too short, or doubted gets a reading that says so and no
findings. --json prints the reading as `cgdmer.reading.reading.schema()` describes it. {RESEARCH_USE_ONLY}"""


@dataclass
class Arguments:
    record: Positional = option(RECORD_HELP)
    labels: list[str] | None = option("the findings to judge (default: all that the model was trained on)", None)
    leads: Leads = leads_option()
    lead_names: list[str] | None = lead_names_option()
    sampling_rate: float | None = sampling_rate_option()
    unit: str | None = unit_option()
    model: str | None = model_option()
    abstain: float = option(
        "judge no recording that is less familiar than this share of recordings like those of training (default: "
        "only doubted recordings are not judged)",
        0.0,
        metavar="SHARE",
    )
    plot: str | None = option("the page to write, an A4 sheet, such as reading.pdf", None, metavar="PICTURE")
    fhir: str | None = option("a FHIR R5 bundle to write", None, metavar="FILE")


def run(arguments: Arguments, say: Callable[..., None]) -> dict[str, Any]:
    from cgdmer.files.writing import write_json
    from cgdmer.inference.scorers import load_scorer
    from cgdmer.models.errors import RecordFileError
    from cgdmer.models.wfdb_header import header_path_of
    from cgdmer.plotting.ecg_paper import check_picture_path
    from cgdmer.reading.fhir import bundle_of
    from cgdmer.reading.page import save_reading
    from cgdmer.reading.reading import read_ecg, unreadable

    if arguments.plot:
        check_picture_path(arguments.plot)
    scorer = load_scorer(arguments.model)
    record = None
    try:
        record = read_recording(arguments)
    except RecordFileError as error:
        if not any(os.path.lexists(path) for path in (arguments.record, header_path_of(arguments.record))):
            raise  # a wrong path is no recording that cannot be read
        reading = unreadable(arguments.record, error, scorer)
    else:
        reading = read_ecg(record, scorer, arguments.labels, arguments.abstain)
    if arguments.plot:
        save_reading(reading, record, arguments.plot)
    if arguments.fhir:
        write_json(Path(arguments.fhir), bundle_of(reading))
    answer = reading.as_json()
    note = answer["note"]
    for line in reading.lines():
        if line != note:  # printed last
            say(line)
    for path in (arguments.plot, arguments.fhir):
        if path:
            say(f"written: {path}")
    return answer
