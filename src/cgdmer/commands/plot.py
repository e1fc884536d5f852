# SPDX-License-Identifier: Apache-2.0
"""Draw twelve leads on ECG paper."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from cgdmer.commands._arguments import (
    PLOT_HELP,
    RECORD_HELP,
    Leads,
    Positional,
    lead_names_option,
    leads_option,
    read_recording,
    sampling_rate_option,
    unit_option,
)
from cgdmer.options import Marker, option

DESCRIPTION = "Draws at 25 mm/s and 10 mm/mV, with a calibration pulse; to scale when printed at 100 %."


@dataclass
class Arguments:
    record: Positional = option(RECORD_HELP)
    plot: Annotated[str, Marker.POSITIONAL] = option(PLOT_HELP, "ecg.png", metavar="PICTURE")
    leads: Leads = leads_option()
    lead_names: list[str] | None = lead_names_option()
    sampling_rate: float | None = sampling_rate_option()
    unit: str | None = unit_option()


def run(arguments: Arguments, say: Callable[..., None]) -> dict[str, Any]:
    from cgdmer.plotting.ecg_paper import check_picture_path, save_ecg_plot

    check_picture_path(arguments.plot)
    save_ecg_plot(read_recording(arguments), arguments.plot)
    say(f"drawn to {arguments.plot}")
    return {"record": arguments.record, "picture": arguments.plot}
