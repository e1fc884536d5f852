# SPDX-License-Identifier: Apache-2.0
"""HuBERT-ECG in its three sizes. What only pretraining needs (clusters, the token for masked places) is dropped."""

from functools import partial

import torch

from cgdmer.conversion.kind import Converted, Kind, ReleasedTensors, Source
from cgdmer.models.configuration_hubert_ecg import HubertECGConfig
from cgdmer.models.modeling_hubert_ecg import HubertECGModel

# Width, layers, heads, and inner width. The number of heads follows from no tensor.
_SIZES = {"small": (512, 8, 8, 2048), "base": (768, 12, 12, 3072), "large": (960, 16, 12, 3840)}


def _convert(size: str, tensors: ReleasedTensors) -> Converted:
    width, layers, heads, inner = _SIZES[size]
    config = HubertECGConfig(
        hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=inner
    )
    tensors.drop(r"masked_spec_embed", r"final_proj\..*", r"label_embedding\..*")
    weights: dict[str, torch.Tensor] = {}
    for part in ("feature_extractor.", "feature_projection.", "encoder."):
        found = tensors.take_all(part)
        weights |= {f"hubert.{part}{_new_spelling(name)}": value for name, value in found.items()}
    return HubertECGModel, config, weights


def _new_spelling(name: str) -> str:
    """A weight norm has had two spellings."""
    name = name.replace(".weight_g", ".parametrizations.weight.original0")
    return name.replace(".weight_v", ".parametrizations.weight.original1")


def _kind(size: str) -> Kind:
    return Kind(
        source=Source(
            name=f"HuBERT-ECG, {size}",
            paper='"HuBERT-ECG as a self-supervised foundation model for broad and scalable cardiac applications" '
            "(medRxiv 2024.11.14.24317328)",
            where=f"model.safetensors of Edoardo-BS/hubert-ecg-{size} on the Hub",
            license="cc-by-nc-4.0",
            license_note="CC BY-NC 4.0 for code and weights",
            corpora="9.1 million ECGs, among them PTB-XL, PTB, CPSC and its extra set, Georgia, Chapman, Ningbo, "
            "Hefei, SPH, and SaMi-Trop by the authors' lists of splits. Treat all public corpora as seen",
            seen=("ptb-xl", "cpsc2018", "csn"),
            notes=(
                f"The file hubert_ecg_{size}.pt has the same weights, but also holds an object of the authors' class, "
                "so it cannot be read safely. Use the safetensors.",
                "The window is 5 s. The authors take the first 5 s of a recording; so does this model, unless asked "
                "for all windows.",
                "An absent lead is zero, and its tokens count in the mean.",
            ),
        ),
        convert=partial(_convert, size),
        hub_file="model.safetensors",
        containers=("model_state_dict",),
        feature_extractor={
            "filter": "fir_0.05_47hz",
            "resampling": "fourier",
            "normalization": "minmax_lead",
            "normalized_part": "recording",
        },
    )


KINDS = {f"hubert-ecg-{size}": _kind(size) for size in _SIZES}
