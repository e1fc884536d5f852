# SPDX-License-Identifier: Apache-2.0
"""What to watch during pretraining: pictures of reconstructions, the rank of the true report, the training curve.

All of it uses what validation computes anyway, draws no random numbers, and does not affect training.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from matplotlib.image import imread
from transformers import PreTrainedConfig
from transformers.utils import ModelOutput

from cgdmer.families import ecg_config_of, extractor_of
from cgdmer.models.modeling_base import present_patches
from cgdmer.models.normalization import NORMALIZATIONS
from cgdmer.plotting.figure_page import save
from cgdmer.training.reconstruction_figure import Reconstruction, reconstruction_figure
from cgdmer.training.retrieval import retrieval_metrics
from cgdmer.training.training_curve import draw_training_curve

MOST_PAIRS = 1000  # for measuring retrieval
MOST_RECORDS = 3  # per picture
PICTURES = "reconstructions"


class Watcher:
    """Sees every batch of a validation, then measures and draws.

    Every process calls `see` for each batch, since the processes exchange what they hold. `processor` is a feature
    extractor if the model takes no texts; `folder` holds the run's `metrics.jsonl`; `aligns` says whether the outputs
    have embeddings of ECGs and texts. Only with `shows_texts` do the
    pictures, which people pass on, print the reports.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        config: PreTrainedConfig,
        processor,
        folder: Path,
        aligns: bool,
        shows_texts: bool = False,
    ):
        self.accelerator, self.config, self.processor, self.folder = accelerator, config, processor, folder
        self.aligns, self.shows_texts = aligns, shows_texts
        self._forget()

    def _forget(self) -> None:
        self.pairs: list[tuple[torch.Tensor, ...]] = []
        self.reconstructions: list[Reconstruction] = []

    def start_anew(self) -> None:
        """Remove the pictures of an earlier run, which would mislead next to those of this one."""
        for picture in (self.folder / PICTURES).glob("step_*.png"):
            picture.unlink()

    @torch.no_grad()
    def see(self, batch: Mapping[str, torch.Tensor], outputs: ModelOutput) -> None:
        """Keep what is needed of a validation batch."""
        shows = self.accelerator.is_main_process and outputs.get("reconstructed_patches") is not None
        if shows and not self.reconstructions:
            ecg_config = ecg_config_of(self.config)
            self.reconstructions = reconstructions(batch, outputs, self.processor, ecg_config, self.shows_texts)
        # Gathered, so that all processes count the same and stop at the same batch.
        if self.aligns and sum(len(ecg) for ecg, *_ in self.pairs) < MOST_PAIRS:
            mine = [outputs[name] for name in ("ecg_embeds", "text_embeds")]
            mine += [batch[name] for name in ("ecg_statement_ids", "text_statement_ids")]
            self.pairs.append(tuple(part.cpu() for part in self.accelerator.gather_for_metrics(mine)))

    def retrieval(self) -> dict[str, float]:
        """`retrieval_metrics` of the first `MOST_PAIRS` pairs seen; empty for a model that does not align.

        Uses the embeddings that the losses compare: with a masked `contrast_view`, those of masked signals (and
        reports).
        """
        if not self.pairs:
            return {}
        return retrieval_metrics(*(torch.cat(parts)[:MOST_PAIRS] for parts in zip(*self.pairs, strict=True)))

    def after_validation(self, step: int) -> None:
        """Draw and log what was seen, once `metrics.jsonl` holds the validation; only on the main process."""
        if self.accelerator.is_main_process:
            if self.reconstructions:
                self._show_reconstructions(step)
            draw_training_curve(self.folder / "training_curve.png", self.folder / "metrics.jsonl")
        self._forget()

    def _show_reconstructions(self, step: int) -> None:
        pictures = self.folder / PICTURES
        pictures.mkdir(exist_ok=True)
        extractor, ecg_config = extractor_of(self.processor), ecg_config_of(self.config)
        notes = []
        if ecg_config.normalize_patches:
            notes.append(
                "The model predicts patches with zero mean and unit standard deviation. To draw a prediction, both "
                "were taken from the recorded patch."
            )
        if not NORMALIZATIONS[extractor.normalization].keeps_amplitude:
            notes.append(f"Amplitudes as the model sees them (normalization {extractor.normalization!r}), not in mV.")
        picture = pictures / f"step_{step:06d}.png"
        figure = reconstruction_figure(
            self.reconstructions,
            sampling_rate=ecg_config.sampling_rate,
            title=f"Reconstruction of masked patches, step {step:,}",
            unit="mV" if NORMALIZATIONS[extractor.normalization].keeps_amplitude else "",
            notes=notes,
        )
        save(figure, picture)
        for tracker in self.accelerator.trackers:
            image = np.round(255 * imread(picture)[..., :3]).astype(np.uint8)
            if tracker.name == "tensorboard":
                tracker.log_images({PICTURES: image[None]}, step=step, dataformats="NHWC")
            elif tracker.name == "wandb":
                tracker.log_images({PICTURES: [image]}, step=step)


def reconstructions(
    batch: Mapping[str, torch.Tensor], outputs: ModelOutput, processor, ecg_config: Any, shows_texts: bool = False
) -> list[Reconstruction]:
    """The first records of a batch, as recorded and as reconstructed, in millivolts if the amplitude is known.

    Predictions of normalized patches get back the mean and standard deviation of the recorded patch. With
    `shows_texts`, a record comes with its report.
    """
    count = min(MOST_RECORDS, len(batch["ecg_values"]))
    true_RLNP = batch["ecg_values"][:count].float().cpu().unflatten(-1, (-1, ecg_config.patch_length))
    predicted_RLNP = outputs["reconstructed_patches"][:count].float().cpu()
    if ecg_config.normalize_patches:
        variance = true_RLNP.var(dim=-1, keepdim=True, unbiased=False)
        # With the epsilon of `objectives.reconstruction_loss`.
        predicted_RLNP = predicted_RLNP * torch.sqrt(variance + 1e-6) + true_RLNP.mean(dim=-1, keepdim=True)
    extractor = extractor_of(processor)
    scale = extractor.fixed_millivolts if NORMALIZATIONS[extractor.normalization].keeps_amplitude else 1.0
    present_RLN = present_patches(
        batch["ecg_values"], batch.get("lead_mask"), batch.get("patch_mask"), ecg_config.num_patches
    ).cpu()
    return [
        Reconstruction(
            true=scale * true_RLNP[record].numpy(),
            predicted=scale * predicted_RLNP[record].numpy(),
            masked=outputs["bool_masked_pos"][record].cpu().numpy(),
            present=present_RLN[record].numpy(),
            text=_text(processor.tokenizer, batch["input_ids"][record])
            if shows_texts and "input_ids" in batch
            else "",
        )
        for record in range(count)
    ]


def _text(tokenizer, input_ids: torch.Tensor) -> str:
    text = tokenizer.decode(input_ids, skip_special_tokens=True, clean_up_tokenization_spaces=True)
    # Not every WordPiece tokenizer joins the pieces of a word.
    return text.replace(" ##", "")
