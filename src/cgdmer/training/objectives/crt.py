# SPDX-License-Identifier: Apache-2.0
"""CRT (Zhang et al., TNNLS 2023, arXiv 2205.09928): restore dropped patches of the signal and of its spectrum.

Shapes: b records, L leads, T samples, N patches per lead (columns), P samples per patch, M bands of P frequencies, V
values of a patch, K tokens shown to the encoder, Q places to restore, D width of the encoder, C of the decoder.
"""

import copy
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F
from transformers.masking_utils import create_bidirectional_mask

from cgdmer.models.ecg_decoder import DecoderLayer
from cgdmer.models.errors import ConfigurationError
from cgdmer.models.lead_time_tokenizer import init_lead_and_time_embeddings, init_time_embedding
from cgdmer.models.masking import gather_visible, mask_patches, most_visible
from cgdmer.models.modeling_base import ECGPreTrainedModel, masked_mean
from cgdmer.training.objectives.base import Batch, Computed, Objective, precise
from cgdmer.training.objectives.tokens import is_complete, present_in, refuse_other_than_lead_time

DROPPED = (0.3, 0.8)  # the share of the patches is that of the training that is done, within these limits
# One mean over all patches, of which the signal has twice as many as each part of the spectrum.
WEIGHTS = {"time": 0.5, "magnitude": 0.25, "phase": 0.25, "discrimination": 1e-4}


class CRT(Objective):
    """Shown patches of the signal, the magnitudes, and the phases go through the encoder's layers together.

    Raises:
        ConfigurationError: the encoder has no tokens per lead, or the window is a single patch.
    """

    contrasts: ClassVar = False

    def __init__(self, model: ECGPreTrainedModel):
        super().__init__(model)
        refuse_other_than_lead_time(self.ecg_model, "CRT")
        config = copy.copy(self.ecg_model.config)
        config._attn_implementation = "sdpa"  # as in `ECGDecoder`
        self.bands, width = config.num_patches // 2, config.decoder_hidden_size
        if not self.bands:
            raise ConfigurationError("CRT needs two patches per lead at least, and the window has one.")
        values = config.num_leads * config.patch_length
        self.tokenizers = nn.ModuleList(nn.Linear(values, self.hidden_size) for _ in range(2))
        self.bands_of_encoder = nn.Parameter(torch.zeros(2, self.bands, self.hidden_size))
        self.before, self.after = (nn.Linear(self.hidden_size, self.hidden_size) for _ in range(2))
        self.embedding = nn.Linear(self.hidden_size, width)
        self.mask_token = nn.Parameter(0.02 * torch.randn(width))
        self.lead_embedding = nn.Parameter(torch.zeros(config.num_leads, width))
        self.time_embedding = nn.Parameter(torch.zeros(config.num_patches, width))
        self.bands_of_decoder = nn.Parameter(torch.zeros(2, self.bands, width))
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.decoder_num_hidden_layers))
        self.norm = nn.LayerNorm(width)
        self.restore = nn.ModuleList(nn.Linear(width, count) for count in (config.patch_length, values, values))
        self._init_embeddings()

    @torch.no_grad()
    def _init_embeddings(self) -> None:
        init_lead_and_time_embeddings(self.lead_embedding, self.time_embedding)
        for embeddings in (self.bands_of_encoder, self.bands_of_decoder):
            for of_part in embeddings:
                init_time_embedding(of_part)
                of_part += 0.5 * torch.randn(of_part.shape[1])  # which part it is

    def dropped_share(self) -> float:
        least, most = DROPPED
        return min(max(self.progress, least), most)

    def compute(self, batch: Batch) -> Computed:
        config, share = self.ecg_model.config, self.dropped_share()
        present_bLN = present_in(batch, self.ecg_model)
        places = Places(batch["noise"], present_bLN, self.bands, share)
        signal_bLT, spectrum_2bMV = in_both_domains(batch["ecg_values"], present_bLN, self.bands)

        tokens_bKD = self.shown_tokens(batch["ecg_values"], spectrum_2bMV, places)
        attention_mask = None
        if not is_complete(batch):
            attention_mask = create_bidirectional_mask(self.ecg_model.config, tokens_bKD, places.shown_valid)
        encoded_bKD = self.ecg_model.dropout(tokens_bKD)
        for layer in self.ecg_model.layers:
            encoded_bKD = layer(encoded_bKD, attention_mask)
        encoded_bKD = self.ecg_model.norm(encoded_bKD)

        time_bMP, *spectrum = self.restored(encoded_bKD, places)
        target_bMP = signal_bLT.unflatten(-1, (-1, config.patch_length)).flatten(1, 2)
        error_bMP = (time_bMP - gather(target_bMP, places.time)).square()
        losses = {"time": masked_mean(error_bMP.mean(dim=-1, keepdim=True), places.time_valid).mean()}
        for name, restored_bMV, target_bMV in zip(("magnitude", "phase"), spectrum, spectrum_2bMV, strict=True):
            error_bMV = (restored_bMV - gather(target_bMV, places.bands)).square()
            error_bL1 = error_bMV.unflatten(-1, (config.num_leads, -1)).mean(dim=(1, 3))[..., None]
            losses[name] = masked_mean(error_bL1, present_bLN.any(dim=2)).mean()
        pair = (self.before(tokens_bKD), self.after(encoded_bKD))
        losses["discrimination"] = discrimination(*pair, places.shown_valid)
        count = places.num_shown
        return Computed(losses, masked_mean(encoded_bKD[:, :count], places.time_valid[:, :count]))

    def loss_weights(self) -> dict[str, float]:
        return WEIGHTS

    def shown_tokens(self, values_bLT: torch.Tensor, spectrum_2bMV: torch.Tensor, places: "Places") -> torch.Tensor:
        """(b, K, D): of the signal, then of the magnitudes, then of the phases."""
        tokens = [self.ecg_model.tokenizer(values_bLT, places.time[:, : places.num_shown])]
        for tokenizer, part_bMV, bands_MD in zip(self.tokenizers, spectrum_2bMV, self.bands_of_encoder, strict=True):
            tokens.append(
                gather(tokenizer(part_bMV.to(bands_MD.dtype)) + bands_MD, places.bands[:, : places.num_bands_shown])
            )
        return torch.cat(tokens, dim=1)

    def restored(self, encoded_bKD: torch.Tensor, places: "Places") -> list[torch.Tensor]:
        """For each domain, the values of all places, in the order of `places`.

        Hidden ones ask the shown ones by cross-attention; shown ones are a linear map of their own token.
        """
        place_MC = (self.lead_embedding[:, None] + self.time_embedding).flatten(0, 1)
        where = [
            F.embedding(places.time, place_MC),
            *(F.embedding(places.bands, part) for part in self.bands_of_decoder),
        ]
        counts = (places.num_shown, places.num_bands_shown, places.num_bands_shown)
        shown_bKC = torch.cat([part[:, :count] for part, count in zip(where, counts, strict=True)], dim=1)
        shown_bKC = shown_bKC + self.embedding(encoded_bKD)
        hidden = [part[:, count:] for part, count in zip(where, counts, strict=True)]
        asked_bQC = self.mask_token + torch.cat(hidden, dim=1)
        looks_at = places.shown_valid[:, None, None].expand(-1, -1, asked_bQC.shape[1], -1)
        for layer in self.layers:
            asked_bQC = layer(asked_bQC, shown_bKC, looks_at)
        parts = zip(
            self.restore,
            self.norm(shown_bKC).split(counts, dim=1),
            self.norm(asked_bQC).split([part.shape[1] for part in hidden], dim=1),
            strict=True,
        )
        return [precise(restore(torch.cat([shown, asked], dim=1))) for restore, shown, asked in parts]


class Places:
    """Which patches of the signal and which bands of the spectrum are shown; the others are to be restored.

    Whole columns are hidden, and the same bands of magnitude and phase.

    Attributes:
        time: (b, L * N), the first `num_shown` shown, the others hidden; `time_valid`: False where there is no such
            patch.
        bands: (b, M), the first `num_bands_shown` shown.
        shown_valid: (b, K) bool, for the tokens of all domains.
    """

    def __init__(self, noise_bLN: torch.Tensor, present_bLN: torch.Tensor, bands: int, share: float):
        b, leads, patches = present_bLN.shape
        hidden_bLN = mask_patches(noise_bLN, present_bLN, "time", share)
        # Later digits, so that bands and columns are drawn independently.
        noise_b1M = noise_bLN[:, :1, :bands] * 4096 % 1
        hidden_bM = mask_patches(noise_b1M, torch.ones_like(noise_b1M, dtype=torch.bool), "uniform", share)[:, 0]
        self.num_shown = most_visible(leads, patches, "time", share, 0.0)
        self.num_bands_shown = most_visible(1, bands, "time", share, 0.0)
        shown, shown_valid = gather_visible((present_bLN & ~hidden_bLN).flatten(1), self.num_shown)
        hidden, hidden_valid = gather_visible(hidden_bLN.flatten(1), leads * patches - self.num_shown)
        self.time, self.time_valid = torch.cat([shown, hidden], dim=1), torch.cat([shown_valid, hidden_valid], dim=1)
        self.bands = hidden_bM.to(torch.uint8).argsort(dim=1, stable=True)
        self.shown_valid = torch.cat([shown_valid, shown_valid.new_ones(b, 2 * self.num_bands_shown)], dim=1)


def in_both_domains(
    values_bLT: torch.Tensor, present_bLN: torch.Tensor, bands: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The signal in units of the record's deviation, (b, L, T), and its spectrum, (2, b, M, L * P).

    The spectrum is log(1 + magnitude) and phase / pi of the lowest M * P frequencies of each lead. What is absent is
    zero.
    """
    present_bLT = present_bLN.repeat_interleave(values_bLT.shape[2] // present_bLN.shape[2], dim=2)
    signal_bLT = precise(values_bLT).masked_fill(~present_bLT, 0.0)
    variance_b = signal_bLT.square().sum(dim=(1, 2)) / present_bLT.sum(dim=(1, 2))
    signal_bLT = signal_bLT * torch.rsqrt(variance_b + 1e-6)[:, None, None]
    patch_length = values_bLT.shape[2] // present_bLN.shape[2]
    waves_bLF = torch.fft.rfft(signal_bLT, norm="ortho")[..., : bands * patch_length]
    parts_2bLF = torch.stack([waves_bLF.abs().log1p(), waves_bLF.angle() / torch.pi])
    return signal_bLT, parts_2bLF.unflatten(-1, (bands, -1)).transpose(2, 3).flatten(3)


def discrimination(before_bKD: torch.Tensor, after_bKD: torch.Tensor, valid_bK: torch.Tensor) -> torch.Tensor:
    """log sum over i != j of exp cos(before_i, after_j), for the tokens of each record, then averaged.

    It keeps tokens apart: each one before the encoder from all others after it.
    """
    with torch.autocast(before_bKD.device.type, enabled=False):
        before_bKD, after_bKD = (F.normalize(precise(one), dim=-1) for one in (before_bKD, after_bKD))
        cosines_bKK = before_bKD @ after_bKD.transpose(1, 2)
    itself_KK = torch.eye(cosines_bKK.shape[1], dtype=torch.bool, device=cosines_bKK.device)
    counts_bKK = valid_bK[:, :, None] & valid_bK[:, None] & ~itself_KK
    return cosines_bKK.masked_fill(~counts_bKK, -torch.inf).flatten(1).logsumexp(dim=1).mean()


def gather(values_bMV: torch.Tensor, places_bQ: torch.Tensor) -> torch.Tensor:
    """(b, Q, V)"""
    return values_bMV.gather(1, places_bQ[..., None].expand(-1, -1, values_bMV.shape[-1]))
