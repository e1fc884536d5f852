# SPDX-License-Identifier: Apache-2.0
"""Export a model with fixed labels to ONNX."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from cgdmer.about import RESEARCH_USE_ONLY
from cgdmer.commands._arguments import LABELS_HELP, MODEL_HELP, Leads, Positional, leads_option
from cgdmer.options import Marker, option

DESCRIPTION = f"""\
Writes the ECG tower and the labels' embeddings, or a fine-tuned classifier, for onnxruntime without torch.
The file is kept only if its output matches the model's. Needs the extra: pip install "cgdmer[export]".
{RESEARCH_USE_ONLY}"""


@dataclass
class Arguments:
    model: Positional = option(f"{MODEL_HELP}, or cgdmer-tiny-ptbxl, which comes with the package")
    output: Annotated[str, Marker.POSITIONAL] = option("a new file", metavar="OUTPUT.onnx")
    labels: list[str] | None = option(LABELS_HELP, None)
    leads: Leads = leads_option("the leads that recordings will have, e.g. I II (default: all twelve)")


def run(arguments: Arguments, say: Callable[..., None]) -> dict[str, Any]:
    from cgdmer.inference.exporting import export_onnx

    exported = export_onnx(**vars(arguments))
    say("{output}: {bytes} bytes; differs from the model by at most {difference:.1e}".format(**exported))
    say(f"ecg_values: (batch, {len(exported['leads'])}, samples), {', '.join(exported['leads'])}")
    return {**exported, "note": RESEARCH_USE_ONLY}
