# SPDX-License-Identifier: Apache-2.0
"""Options of an evaluation."""

from dataclasses import dataclass
from typing import Annotated, Literal

from cgdmer.options import Marker, option

Protocol = Literal["repaired", "as_published"]
ProbedFeature = Literal["pooled", "embeds"]


@dataclass
class EvaluationArguments:
    """Options of `evaluate_model` and of `cgdmer evaluate`."""

    model: Annotated[str, Marker.POSITIONAL] = option("a pretrained model's folder or Hub id, or cgdmer-tiny-ptbxl")
    dataset: str = option("folder written by `cgdmer prepare`")
    tasks: list[str] = option("ptbxl-{super,sub,form,rhythm,all}, cpsc2018, csn, simulated", ["ptbxl-super"])
    splits: list[str] = option("splits to test on, pooled", ["test"])
    prompts: str = option("name, description, ensemble, or a JSON file", "ensemble")
    protocol: Protocol = option("as_published repeats known defects, for figures beside those of papers", "repaired")
    split_files: str | None = option("split files in the MERL layout, instead of the dataset's", None, metavar="DIR")
    skip_linear_probe: bool = option("zero-shot alone", False)
    probed_feature: ProbedFeature = option(
        "what linear probes see: the encoder's feature, or the vector that is compared with texts",
        "pooled",
    )
    shots: list[int] = option("also probes on this many records of each class", [])
    robustness: bool = option("also with fewer leads, lower rates, noise", False)
    report_retrieval: bool = option(
        "also: the training report nearest to each test ECG, by ROUGE against the ECG's own", False
    )
    allow_overlap: bool = option("although the model saw some test records", False)
    cache_dir: str | None = option("keep embeddings there, and take those that are there", None)
    output_dir: str | None = option("write results, a report and figures there, a folder for each task", None)
    seed: int = option("of random weights, draws, and the bootstrap", 0)
