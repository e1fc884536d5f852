# SPDX-License-Identifier: Apache-2.0
"""Export a model to ONNX, for fixed leads and labels: `cgdmer export`.

The file holds the ECG tower and the labels' embeddings, but not the text tower; or the encoder and its classifier. Its
input is the output of the model's feature extractor.

Shapes: B batch, L leads of the file, T samples, E embedding width, P labels.
"""

import copy
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers.utils import ModelOutput

from cgdmer.about import RESEARCH_USE_ONLY, __version__
from cgdmer.inference.scorers import LabelHead, Scorer, load_scorer
from cgdmer.models.ecg_record import keep_leads
from cgdmer.models.errors import ECGInputError, ExportError
from cgdmer.models.leads import STANDARD_LEADS, derive_limb_leads, standard_lead_names
from cgdmer.models.modeling_base import ECGPreTrainedModel
from cgdmer.models.modeling_lead_time_encoder import LeadTimeEncoder
from cgdmer.models.pipeline_ecg_classification import SINGLE_LABEL
from cgdmer.simulation.cohort import simulate_record

OUTPUTS = ("scores", "logits", "embeddings")
MOST_DIFFERENCE = 1e-4
OPSET = 20  # the first with GELU


class ECGScorer(nn.Module):
    """The exported module: (B, L, T) to scores (B, P), logits (B, P), and embeddings (B, E)."""

    placement_LL: torch.Tensor | None
    lead_mask_1L: torch.Tensor | None

    def __init__(self, model: ECGPreTrainedModel, rows: Sequence[int], head: LabelHead):
        """`rows` are the positions of the L leads in `STANDARD_LEADS`."""
        super().__init__()
        self.encoder = copy.deepcopy(model.base_model)
        placement_LL, lead_mask_1L = None, None
        if isinstance(self.encoder, LeadTimeEncoder):
            # Keep only these leads: the others would have no tokens anyway.
            self.encoder.config.num_leads = len(rows)
            self.encoder.tokenizer.lead_embedding = nn.Parameter(self.encoder.tokenizer.lead_embedding[list(rows)])
        elif len(rows) < len(STANDARD_LEADS):  # this encoder takes all leads, and a mask of those that are there
            placement_LL = torch.eye(len(STANDARD_LEADS))[:, list(rows)]
            lead_mask_1L = placement_LL.sum(dim=1)[None].long()
        self.register_buffer("placement_LL", placement_LL)
        self.register_buffer("lead_mask_1L", lead_mask_1L)
        self.head = copy.deepcopy(head)

    def forward(self, ecg_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        lead_mask = None
        if self.placement_LL is not None and self.lead_mask_1L is not None:
            ecg_values = self.placement_LL @ ecg_values
            lead_mask = self.lead_mask_1L.expand(ecg_values.shape[0], -1)
        return _outputs(self.head, self.encoder(ecg_values, lead_mask=lead_mask, return_dict=True))


def _outputs(head: LabelHead, outputs: ModelOutput) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Scores, logits, and embeddings; the logits in the order of the head's labels."""
    features_BE = head.features(outputs)
    logits_BK = head.logits(features_BE)
    return head.scores(logits_BK), head.of_labels(logits_BK), F.normalize(features_BE, dim=-1)


def export_onnx(
    model: str | os.PathLike[str] | None,
    output: str | os.PathLike[str],
    labels: Sequence[str] | None = None,
    leads: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Export a model with its labels to ONNX, and check in onnxruntime that the file gives the model's output.

    The input `ecg_values` (batch, leads, samples) is a whole window of the feature extractor, without padding, with
    the file's leads as rows. The outputs are `scores` (batch, labels), as in the pipeline
    `zero-shot-ecg-classification` or, for a classifier, `ecg-classification`; `logits`, the scores before the sigmoid
    or softmax (for a long recording the pipeline averages the windows' logits by `window_weights`), which for a
    regression are its values, like the scores; and `embeddings` (batch, width), unit vectors. The metadata describe
    rows, columns, and preprocessing: `leads`, `recorded_leads`, `labels`, `problem_type` (see `Scorer`),
    `sampling_rate`, `num_samples`, `preprocessing` (the feature extractor's JSON), `cgdmer` (version), and `note`.

    Args:
        model: a folder or Hub id; None: the model that comes with the package.
        output: a new file.
        labels: findings in free text; for a classifier, some of its own labels, or None for all of them. Labels that
            exclude each other are exported together.
        leads: the leads that recordings will have; None: all twelve. The file's leads include the limb leads that the
            feature extractor derives from them.

    Returns:
        `output`, `leads`, `labels`, `bytes`, and `difference`, the largest one found between file and model.

    Raises:
        ECGInputError: a label is missing, empty, given twice, or unknown to the classifier; or a lead is unknown or
            given twice.
        ModelFolderError: the model has neither a text tower nor a classifier, or is damaged.
        ExportError: onnx, onnxscript or onnxruntime is not installed; the file exists; an output differs by more than
            1e-4; torch cannot export the model.
    """
    recorded = standard_lead_names(STANDARD_LEADS if leads is None else leads)
    if not recorded:
        raise ECGInputError(
            "leads is empty. Name the leads that recordings will have, or leave it out for all twelve."
        )
    path = Path(output)
    if path.exists():
        raise ExportError(f"{path} exists. Name a new file, or remove it.")
    if not path.absolute().parent.is_dir():
        raise ExportError(f"{path.parent} is no folder. Create it first, or name another file.")
    _require_onnx()
    scorer = load_scorer(model, device="cpu")
    scorer.model.float()  # the file computes in single precision, however the weights are stored
    head, extractor = scorer.head(labels), scorer.feature_extractor
    if scorer.problem_type == SINGLE_LABEL and len(head.labels) < head.num_logits:
        raise ECGInputError(
            "the model's labels exclude each other, so the score of each depends on all of them. Leave labels out, to "
            "export all."
        )
    rows = _present_rows(recorded, extractor.derive_limb_leads)
    exported = ECGScorer(scorer.model, rows, head).eval()
    names = [STANDARD_LEADS[row] for row in rows]
    metadata = _metadata(scorer, head.labels, names, recorded)
    with tempfile.TemporaryDirectory(dir=path.absolute().parent, prefix=".cgdmer-export-") as folder:
        written = Path(folder, "model.onnx")
        _write(exported, torch.zeros(2, len(rows), extractor.num_samples), metadata, written)
        difference = _difference(scorer, head, written, recorded, rows)
        if not difference <= MOST_DIFFERENCE:
            raise ExportError(
                f"the ONNX file differs from the model by {difference:.2g}; at most {MOST_DIFFERENCE:g} is allowed, "
                "so the file was removed. Try another version of torch, onnxscript or onnxruntime."
            )
        os.replace(written, path)
    size = path.stat().st_size
    return {"output": str(output), "leads": names, "labels": head.labels, "bytes": size, "difference": difference}


def _require_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ExportError(f"{error.name} is not installed. Run: pip install 'cgdmer[export]'") from error


def _present_rows(recorded: list[str], derive: bool) -> list[int]:
    """The rows that the feature extractor fills from these leads."""
    present = np.isin(STANDARD_LEADS, recorded)
    if derive:
        present = derive_limb_leads(np.zeros((len(STANDARD_LEADS), 1)), present)[1]
    return np.flatnonzero(present).tolist()


def _metadata(scorer: Scorer, labels: list[str], names: list[str], recorded: list[str]) -> dict[str, str]:
    extractor = scorer.feature_extractor
    return {
        "labels": json.dumps(labels, ensure_ascii=False),
        "problem_type": scorer.problem_type,
        "leads": json.dumps(names),
        "recorded_leads": json.dumps([name for name in STANDARD_LEADS if name in recorded]),
        "sampling_rate": str(extractor.sampling_rate),
        "num_samples": str(extractor.num_samples),
        "preprocessing": json.dumps(json.loads(extractor.to_json_string())),
        "cgdmer": __version__,
        "note": RESEARCH_USE_ONLY,
    }


def _write(scorer: ECGScorer, ecg_values: torch.Tensor, metadata: dict[str, str], path: Path) -> None:
    import onnx

    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)  # without torchvision it warns about every one of its operations
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about torch's own internals
            program = torch.onnx.export(
                scorer,
                (ecg_values,),
                input_names=["ecg_values"],
                output_names=list(OUTPUTS),
                dynamic_shapes={"ecg_values": {0: torch.export.Dim("batch")}},
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # the exporter may raise anything
        raise ExportError(f"torch cannot export the model: {error}") from error
    finally:
        logger.setLevel(level)
    assert program is not None
    proto = program.model_proto
    for described in (*proto.graph.node, *proto.graph.value_info, *proto.functions):
        del described.metadata_props[:]  # source paths of this machine
    onnx.helper.set_model_props(proto, metadata)
    proto.doc_string = metadata["note"]
    onnx.save_model(proto, path)


def _difference(scorer: Scorer, head: LabelHead, path: Path, recorded: list[str], rows: list[int]) -> float:
    """The largest difference between model and file, over simulated recordings in batches of one and three.

    Values of a regression may be large: their difference counts in proportion.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    extractor = scorer.feature_extractor
    seconds = extractor.num_samples / extractor.sampling_rate
    simulated = [simulate_record([], seed, extractor.sampling_rate, seconds) for seed in range(3)]
    records = [keep_leads(record, recorded) for record in simulated]
    largest = 0.0
    for batch in (records[:1], records):
        inputs = extractor(batch, return_tensors="pt")
        with torch.no_grad():
            expected = _outputs(head, scorer.model.base_model(**inputs))
        found = session.run(OUTPUTS, {"ecg_values": inputs["ecg_values"][:, rows].numpy()})
        for array, tensor in zip(found, expected, strict=True):
            size = np.maximum(np.abs(tensor.numpy()), 1.0) if scorer.is_regression else 1.0
            largest = max(largest, float((np.abs(array - tensor.numpy()) / size).max()))
    return largest
