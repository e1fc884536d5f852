# SPDX-License-Identifier: Apache-2.0
"""Draw twelve leads on ECG paper."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from cgdmer.commands._arguments import PLOT_HELP, RECORD_HELP, Leads, Positional, leads_option
from cgdmer.options import Marker, option

DESCRIPTION = "Draws at 25 mm/s and 10 mm/mV, with a calibration pulse; to scale when printed at 100 %."


@dataclass
class Arguments:
    record: Positional = option(RECORD_HELP)
    plot: Annotated[str, Marker.POSITIONAL] = option(PLOT_HELP, "ecg.png", metavar="PICTURE")
    leads: Leads = leads_option()


def run(arguments: Arguments, say: Callable[..., None]) -> dict[str, Any]:
    from cgdmer.models.reading_record import read_record
    from cgdmer.plotting.ecg_paper import check_picture_path, save_ecg_plot

    check_picture_path(arguments.plot)
    save_ecg_plot(read_record(arguments.record, arguments.leads), arguments.plot)
    say(f"drawn to {arguments.plot}")
    return {"record": arguments.record, "picture": arguments.plot}
