# SPDX-License-Identifier: Apache-2.0
"""D-BETA: its ECG encoder, alone and with the text tower."""

import re

import torch
from transformers import T5Config

from cgdmer.conversion.ecg_wav2vec import ENDS, WEIGHT_NORM, encoder_of
from cgdmer.conversion.kind import Convert, Converted, Kind, ReleasedTensors, Source
from cgdmer.models.configuration_d_beta import DBetaConfig
from cgdmer.models.configuration_ecg_wav2vec import ECGWav2VecConfig
from cgdmer.models.modeling_d_beta import DBetaModel
from cgdmer.models.modeling_ecg_wav2vec import ECGWav2VecModel

_TOKENIZER = "google/flan-t5-base"
# For its pretraining; and what only comparisons with texts need.
_UNUSED = r"modality_type_embeddings|multi_modal_(ecg|language)_(layers|pooler)|m[li]m_head|itm_head"
_WITH_TEXT = r"language_encoder|multi_modal_(ecg|language)_proj|unimodal_(ecg|language)_pooler"


def _alone(tensors: ReleasedTensors) -> Converted:
    prefix = _prefix(tensors)
    tensors.drop(rf"{re.escape(prefix)}({_UNUSED}|{_WITH_TEXT})\..*")
    config, weights = _tower(tensors, prefix)
    return ECGWav2VecModel, config, weights


def _with_text(tensors: ReleasedTensors) -> Converted:
    prefix = _prefix(tensors)
    tensors.drop(rf"{re.escape(prefix)}({_UNUSED})\..*")
    ecg_config, ecg = _tower(tensors, prefix)
    text_config, text = _t5(tensors, f"{prefix}language_encoder.")
    config = DBetaConfig(
        ecg_config=ecg_config,
        text_config=text_config,
        text_model_name=_TOKENIZER,
        projection_size=tensors.dimension(f"{prefix}multi_modal_ecg_proj.weight", 0),
    )
    weights = {f"ecg_model.{name}": tensor for name, tensor in ecg.items()}
    weights |= {f"text_model.{name}": tensor for name, tensor in text.items()}
    for own, released in (("ecg", "ecg"), ("text", "language")):
        for end in ENDS:
            weights[f"{own}_head.0.{end}"] = tensors.take(f"{prefix}multi_modal_{released}_proj.{end}")
            weights[f"{own}_head.1.{end}"] = tensors.take(f"{prefix}unimodal_{released}_pooler.dense.{end}")
    return DBetaModel, config, weights


def _prefix(tensors: ReleasedTensors) -> str:
    """Nothing, or that of a model which has this one as a part."""
    found = [name for name in tensors.names() if name.split(".")[-1] == "class_embedding"]
    return found[0].removesuffix("class_embedding") if found else ""


def _tower(tensors: ReleasedTensors, prefix: str) -> tuple[ECGWav2VecConfig, dict[str, torch.Tensor]]:
    options, weights = encoder_of(tensors, f"{prefix}ecg_encoder.")
    weights["class_token"] = tensors.take(f"{prefix}class_embedding")
    return ECGWav2VecConfig(num_samples=5000, pooling="class_token", **options), weights


def _t5(tensors: ReleasedTensors, prefix: str) -> tuple[T5Config, dict[str, torch.Tensor]]:
    layers = [name for name in tensors.names(prefix) if name.endswith(".SelfAttention.q.weight")]
    first = f"{prefix}encoder.block.0.layer."
    positions = f"{first}0.SelfAttention.relative_attention_bias.weight"
    heads = max(1, tensors.dimension(positions, 1))
    config = T5Config(
        vocab_size=tensors.dimension(f"{prefix}shared.weight", 0),
        d_model=tensors.dimension(f"{prefix}shared.weight", 1),
        d_kv=tensors.dimension(f"{first}0.SelfAttention.q.weight", 0) // heads,
        d_ff=tensors.dimension(f"{first}1.DenseReluDense.wi_0.weight", 0),
        num_layers=len(layers),
        num_heads=heads,
        relative_attention_num_buckets=tensors.dimension(positions, 0),
        feed_forward_proj="gated-gelu",
    )
    weights = tensors.take_all(prefix)
    weights.setdefault("encoder.embed_tokens.weight", weights["shared.weight"])  # one tensor by two names
    return config, weights


def _kind(what: str, convert: Convert, tokenizer: str | None, notes: tuple[str, ...]) -> Kind:
    return Kind(
        Source(
            name=f"D-BETA, {what}",
            paper='"Boosting Masked ECG-Text Auto-Encoders as Discriminative Learners" (ICML 2025, arXiv 2410.02131)',
            where="sample.pt of Manhph2211/D-BETA on the Hugging Face Hub, after its terms are accepted",
            license="cc-by-nc-4.0",
            license_note="CC BY-NC 4.0, for code and weights",
            corpora="MIMIC-IV-ECG with its reports",
            seen=("mimic-iv-ecg",),
            notes=(
                "It takes millivolts as they were recorded: the authors neither scale nor filter.",
                WEIGHT_NORM,
                *notes,
            ),
        ),
        convert,
        hub_file="sample.pt",
        containers=("model",),
        feature_extractor={"normalization": "fixed", "fixed_millivolts": 1.0, "resampling": "fourier"},
        tokenizer=tokenizer,
    )


KINDS = {
    "d-beta": _kind(
        "with its text tower",
        _with_text,
        _TOKENIZER,
        notes=(
            "The text tower starts from google/flan-t5-base, Apache-2.0.",
            "Scores are the sigmoid of ten times the cosine, without calibration: they rank records, but are no "
            "probabilities.",
            "For results like theirs, the authors describe each label in a longer text of their own.",
        ),
    ),
    "d-beta-encoder": _kind(
        "ECG encoder",
        _alone,
        None,
        notes=("The feature is the encoder's class token, before the head for comparing it with texts.",),
    ),
}
