# SPDX-License-Identifier: Apache-2.0
"""`cgdmer export`: write a zero-shot model for fixed labels as an ONNX file."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from cgdmer.about import RESEARCH_USE_ONLY
from cgdmer.commands._arguments import LABELS_HELP, Leads, Positional, leads_option
from cgdmer.options import Marker, option

HELP = "write a zero-shot model for fixed labels as an ONNX file"
DESCRIPTION = f"""\
The ECG tower and the labels' embeddings, for onnxruntime without torch. Its answers are compared with the
model's before it is kept. Needs the extra: pip install 'cgdmer[export]'. {RESEARCH_USE_ONLY}"""


@dataclass
class Arguments:
    model: Positional = option("a pretrained model's folder or Hub id, or cgdmer-tiny-ptbxl, which the package brings")
    output: Annotated[str, Marker.POSITIONAL] = option("a new file", metavar="OUTPUT.onnx")
    labels: list[str] = option(LABELS_HELP)
    leads: Leads = leads_option("that recordings will have, e.g. I II (default: all twelve)")


def run(arguments: Arguments, say: Callable[..., None]) -> dict[str, Any]:
    from cgdmer.inference.exporting import export_onnx

    exported = export_onnx(arguments.model, arguments.output, arguments.labels, arguments.leads)
    say("{output}: {bytes} bytes; its answers are the model's to {difference:.1e}".format(**exported))
    say(f"ecg_values: (batch, {len(exported['leads'])}, samples), {', '.join(exported['leads'])}")
    say(RESEARCH_USE_ONLY)
    return {**exported, "note": RESEARCH_USE_ONLY}
