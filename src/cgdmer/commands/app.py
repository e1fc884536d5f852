# SPDX-License-Identifier: Apache-2.0
"""Open a web page for one recording: scores, the ECG on paper, relevance."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cgdmer.about import RESEARCH_USE_ONLY
from cgdmer.commands._arguments import model_option
from cgdmer.models.errors import ConfigurationError
from cgdmer.options import option

DESCRIPTION = f"""\
Serves a page on this machine until Ctrl-C. Drop a recording or choose a simulated example, edit the
findings, and see the scores and where they come from. Needs Gradio: pip install "cgdmer[app]".
{RESEARCH_USE_ONLY}"""


@dataclass
class Arguments:
    model: str | None = model_option()
    port: int | None = option("port of the page (default: the first free one from 7860)", None)


def run(arguments: Arguments, say: Callable[..., None]) -> dict[str, Any]:
    from cgdmer.inference.scorers import load_scorer

    try:
        from cgdmer.app.page import build_page, launch_page
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise ConfigurationError(
            'the page needs Gradio, which is not installed. Run: pip install "cgdmer[app]"'
        ) from error
    launch_page(build_page(load_scorer(arguments.model)), server_port=arguments.port)
    return {}
