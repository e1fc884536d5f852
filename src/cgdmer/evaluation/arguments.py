# SPDX-License-Identifier: Apache-2.0
"""The options of an evaluation."""

from dataclasses import dataclass
from typing import Annotated, Literal

from cgdmer.options import Marker, option

Protocol = Literal["repaired", "as_published"]
ProbedFeature = Literal["pooled", "embeds"]
ReadoutName = Literal["mean", "per_lead", "knn", "attention"]
LeaveOut = Literal["dataset", "source"]


@dataclass
class EvaluationArguments:
    """Options of `evaluate_model` and of `cgdmer evaluate`."""

    model: Annotated[str, Marker.POSITIONAL] = option(
        "folder or Hub id of a pretrained model or a fine-tuned classifier, or cgdmer-tiny-ptbxl"
    )
    dataset: str = option("folder written by `cgdmer prepare`")
    tasks: list[str] | None = option(
        "ptbxl-{super,sub,form,rhythm,all}, cpsc2018, csn, simulated, or labels: the dataset's own (default: "
        "ptbxl-super; of a fine-tuned classifier, labels)",
        None,
    )
    labels: list[str] | None = option(
        "which labels of the dataset the task labels asks for (default: all with at least ten records; of a "
        "fine-tuned classifier, those that it knows)",
        None,
    )
    splits: list[str] = option("splits to test on, pooled", ["test"])
    prompts: str = option("name, description, ensemble, or a JSON file", "ensemble")
    protocol: Protocol = option("as_published repeats known defects, to compare with published figures", "repaired")
    split_files: str | None = option(
        "split files in the MERL layout, to use instead of the dataset's splits", None, metavar="DIR"
    )
    skip_linear_probe: bool = option(
        "evaluate zero-shot only, without any readout (those of a fine-tuned classifier are left out anyway, except "
        "--shots)",
        False,
    )
    probed_feature: ProbedFeature = option(
        "what linear probes and neighbors see: the encoder's feature, or the vector compared with texts", "pooled"
    )
    readouts: list[ReadoutName] = option(
        "how to read the frozen encoder: a linear probe of its feature, or of a mean per lead, the nearest training "
        "records, or a learned query to its tokens (all training records only; tokens take space in --cache_dir, or "
        "in the folder for temporary files)",
        ["mean"],
    )
    shots: list[int] = option("also fit probes on this many records per class", [])
    robustness: bool = option("also evaluate with fewer leads, at lower rates, and with noise", False)
    prompt_study: bool = option(
        "also measure zero-shot with other names, languages, misspellings, denials, and unrelated words", False
    )
    report_retrieval: bool = option(
        "also retrieve the nearest training report for each test ECG and compare it with the ECG's own by ROUGE", False
    )
    leave_out: LeaveOut | None = option(
        "measure each hospital with what was fitted at the others, instead of tasks: each dataset is a hospital, or "
        "each source that records name",
        None,
    )
    with_datasets: list[str] = option("further prepared datasets, for --leave_out", [])
    allow_overlap: bool = option("evaluate even if the model was pretrained on some test records", False)
    cache_dir: str | None = option("folder in which embeddings are kept and looked up", None)
    output_dir: str | None = option("folder for results, a report, and figures, in a subfolder per task", None)
    seed: int = option("seed of random weights and draws", 0)

    def __post_init__(self) -> None:
        if self.labels is not None and "labels" not in (self.tasks or ()):
            self.tasks = [*(self.tasks or ()), "labels"]
