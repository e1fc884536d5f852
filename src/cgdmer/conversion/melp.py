# SPDX-License-Identifier: Apache-2.0
"""MELP: its ECG encoder, which the authors have published, and both towers, as their code saves them."""

import torch

from cgdmer.conversion.bert import bert_of
from cgdmer.conversion.ecg_wav2vec import ENDS, WEIGHT_NORM, encoder_of
from cgdmer.conversion.kind import MIMIC_LEADS, Convert, Converted, Kind, ReleasedTensors, Source
from cgdmer.models.configuration_ecg_wav2vec import ECGWav2VecConfig
from cgdmer.models.configuration_melp import MELPConfig
from cgdmer.models.modeling_ecg_wav2vec import ECGWav2VecModel
from cgdmer.models.modeling_melp import MELPModel

_QUERY_HEADS = 8
_TOKENIZER = "fuyingw/heart_bert"
_PREFIX, _BERT = "ecg_encoder.", "lm_model.bert."


def _alone(tensors: ReleasedTensors) -> Converted:
    tensors.drop(rf"{_PREFIX}proj_contrast", r"(lm_model|proj_t)\..*")
    config, weights = _tower(tensors)
    return ECGWav2VecModel, config, weights


def _with_text(tensors: ReleasedTensors) -> Converted:
    tensors.drop(r"lm_model\.cls\..*")  # a head that predicts words
    projection = tensors.take(f"{_PREFIX}proj_contrast")  # from the left: (.., in) @ (in, out)
    ecg_config, ecg = _tower(tensors)
    text_config, text = bert_of(tensors, _BERT, is_decoder=True, use_cache=False)
    config = MELPConfig(
        ecg_config=ecg_config,
        text_config=text_config,
        text_model_name=_TOKENIZER,
        start_token_id=text_config.vocab_size - 1,  # the one that the authors added
        projection_size=tensors.dimension("proj_t.0.weight", 0),
    )
    weights = {f"ecg_model.{name}": tensor for name, tensor in ecg.items()}
    weights |= {f"text_model.{name}": tensor for name, tensor in text.items()}
    weights |= {f"text_head.{name}": tensor for name, tensor in tensors.take_all("proj_t.").items()}
    return MELPModel, config, weights | {"ecg_head.weight": projection.T}


def _tower(tensors: ReleasedTensors) -> tuple[ECGWav2VecConfig, dict[str, torch.Tensor]]:
    # A second pooler, for tokens of a report; statistics and a temperature that nothing uses; parts for pretraining.
    tensors.drop(rf"{_PREFIX}(logit_scale|bn\..*|attn_pool_caption\..*|ln_caption\..*)")
    tensors.drop(r"logit_scale|(sent_proj|text_decoder)\..*")
    options, weights = encoder_of(tensors, f"{_PREFIX}ecg_encoder.")
    pooler = f"{_PREFIX}attn_pool_contrast."
    queries = tensors.dimension(f"{pooler}query", 0)
    size = tensors.dimension(f"{pooler}query", 1)
    weights["pooler.queries"] = tensors.take(f"{pooler}query")
    biases = tensors.take(f"{pooler}attn.in_proj_bias").chunk(3)
    for part, bias in zip("qkv", biases, strict=False):  # if there are fewer, a weight is missing, which is refused
        weights[f"pooler.{part}_proj.weight"] = tensors.take(f"{pooler}attn.{part}_proj_weight")
        weights[f"pooler.{part}_proj.bias"] = bias
    for own, released in (
        ("out_proj", f"{pooler}attn.out_proj"),
        ("query_norm", f"{pooler}ln_q"),
        ("token_norm", f"{pooler}ln_k"),
        ("norm", f"{_PREFIX}ln_contrast"),
    ):
        weights |= {f"pooler.{own}.{end}": tensors.take(f"{released}.{end}") for end in ENDS}
    config = ECGWav2VecConfig(
        num_samples=5000,
        lead_order=MIMIC_LEADS,
        pooling="queries",
        num_queries=queries,
        query_size=size,
        num_query_heads=_QUERY_HEADS,
        **options,
    )
    return config, weights


def _kind(
    what: str, where: str, convert: Convert, tokenizer: str | None, license_name: str, notes: tuple[str, ...]
) -> Kind:
    known = license_name != "unknown"
    return Kind(
        Source(
            name=f"MELP, {what}",
            paper='"From Token to Rhythm: A Multi-Scale Approach for ECG-Language Pretraining" (ICML 2025, arXiv '
            "2506.21803)",
            where=where,
            license=license_name,
            license_note="Apache-2.0 for the weights, by their model card; MIT for the code"
            if known
            else "MIT for the code; of weights with a text tower, whoever publishes them must say",
            corpora="MIMIC-IV-ECG with its reports, about 760,000 records",
            seen=("mimic-iv-ecg",),
            notes=(
                *notes,
                "The feature is that of the authors' linear probes: the mean over the queries of their pooler, before "
                "the projection to the space of texts. A second pooler, for tokens of a report, is left out.",
                "The authors' data sets use signals without a filter, as here, but a script of theirs cleans MIMIC's "
                "records with NeuroKit. They do not say which of the two the weights have seen.",
                WEIGHT_NORM,
            ),
        ),
        convert,
        hub_file="model.safetensors" if known else None,
        containers=("state_dict",),
        feature_extractor={"normalization": "minmax_record"},
        tokenizer=tokenizer,
    )


KINDS = {
    "melp": _kind(
        "ECG encoder",
        "model.safetensors of fuyingw/MELP_Encoder on the Hugging Face Hub",
        _alone,
        None,
        "apache-2.0",
        notes=("The published weights have 16 bits (bfloat16); here they are stored and used in 32.",),
    ),
    "melp-with-text": _kind(
        "with its text tower",
        "a checkpoint that the authors' code has saved; they have published none with a text tower",
        _with_text,
        _TOKENIZER,
        "unknown",
        notes=(
            "Scores are the sigmoid of ten times the cosine, without calibration: they rank records, but are no "
            "probabilities.",
        ),
    ),
}
