# SPDX-License-Identifier: Apache-2.0
"""What there is to watch while pretraining: pictures of reconstructions, the rank of the true report, the curve.

All of it uses what validation computes anyway, draws no random number, and leaves the training as it is.
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
from cgdmer.models.feature_extraction_ecg import KEEP_AMPLITUDE
from cgdmer.models.modeling_base import present_patches
from cgdmer.training.reconstruction_figure import Reconstruction, draw_reconstructions
from cgdmer.training.retrieval import retrieval_metrics
from cgdmer.training.training_curve import draw_training_curve

MOST_PAIRS = 1000  # of which retrieval is measured
MOST_RECORDS = 3  # in a picture
PICTURES = "reconstructions"


class Watcher:
    """Sees every batch of a validation, and then writes what there is to see.

    Every process calls `see` for each batch and `retrieval` after the last one: they exchange what they hold.

    Args:
        accelerator: of the run.
        config: of the model.
        processor: of the model; a feature extractor where it takes no texts.
        folder: of the run; `metrics.jsonl` is there.
    """

    def __init__(self, accelerator: Accelerator, config: PreTrainedConfig, processor, folder: Path):
        self.accelerator, self.config, self.processor, self.folder = accelerator, config, processor, folder
        self._forget()

    def _forget(self) -> None:
        self.pairs: list[tuple[torch.Tensor, ...]] = []
        self.reconstructions: list[Reconstruction] = []

    def start_anew(self) -> None:
        """Remove the pictures of an earlier run: beside those of this one they would mislead."""
        for picture in (self.folder / PICTURES).glob("step_*.png"):
            picture.unlink()

    @torch.no_grad()
    def see(self, batch: Mapping[str, torch.Tensor], outputs: ModelOutput) -> None:
        """Take from a batch of the validation, in evaluation mode, what is to be shown of it."""
        shows = self.accelerator.is_main_process and outputs.get("reconstructed_patches") is not None
        if shows and not self.reconstructions:
            self.reconstructions = reconstructions(batch, outputs, self.processor, ecg_config_of(self.config))
        # Gathered, so that all processes count alike and stop at the same batch.
        if self.config.aligns and sum(len(ecg) for ecg, *_ in self.pairs) < MOST_PAIRS:
            gathered = self.accelerator.gather_for_metrics(
                (
                    outputs["ecg_embeds"],
                    outputs["text_embeds"],
                    batch["ecg_statement_ids"],
                    batch["text_statement_ids"],
                )
            )
            self.pairs.append(tuple(part.cpu() for part in gathered))

    def retrieval(self) -> dict[str, float]:
        """`retrieval_metrics` of the first `MOST_PAIRS` pairs seen; nothing for a model that aligns nothing.

        The embeddings are those that the losses compare, which costs nothing: with a masked `contrast_view` they are
        of masked signals (and reports).
        """
        if not self.pairs:
            return {}
        return retrieval_metrics(*(torch.cat(parts)[:MOST_PAIRS] for parts in zip(*self.pairs, strict=True)))

    def after_validation(self, step: int) -> None:
        """Draw and log what was seen, once `metrics.jsonl` holds the validation; on the main process alone."""
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
                "The model predicts patches without their mean and with a standard deviation of one: both were taken "
                "from the true patch to draw the prediction."
            )
        if extractor.normalization not in KEEP_AMPLITUDE:
            notes.append(f"Amplitudes as the model sees them (normalization {extractor.normalization!r}), not in mV.")
        picture = pictures / f"step_{step:06d}.png"
        draw_reconstructions(
            picture,
            self.reconstructions,
            sampling_rate=ecg_config.sampling_rate,
            title=f"Reconstruction of masked patches, step {step:,}",
            unit="mV" if extractor.normalization in KEEP_AMPLITUDE else "",
            notes=notes,
        )
        for tracker in self.accelerator.trackers:
            image = np.round(255 * imread(picture)[..., :3]).astype(np.uint8)
            if tracker.name == "tensorboard":
                tracker.log_images({PICTURES: image[None]}, step=step, dataformats="NHWC")
            elif tracker.name == "wandb":
                tracker.log_images({PICTURES: [image]}, step=step)


def reconstructions(
    batch: Mapping[str, torch.Tensor], outputs: ModelOutput, processor, ecg_config: Any
) -> list[Reconstruction]:
    """The first records of a batch as they are and as the model restores them, in millivolts where it can be told.

    A prediction of normalised patches gets back the mean and the standard deviation of the true patch.
    """
    count = min(MOST_RECORDS, len(batch["ecg_values"]))
    true_RLNP = batch["ecg_values"][:count].float().cpu().unflatten(-1, (-1, ecg_config.patch_length))
    predicted_RLNP = outputs["reconstructed_patches"][:count].float().cpu()
    if ecg_config.normalize_patches:
        variance = true_RLNP.var(dim=-1, keepdim=True, unbiased=False)
        # The small number is that of `objectives.reconstruction_loss`.
        predicted_RLNP = predicted_RLNP * torch.sqrt(variance + 1e-6) + true_RLNP.mean(dim=-1, keepdim=True)
    extractor = extractor_of(processor)
    scale = extractor.fixed_millivolts if extractor.normalization in KEEP_AMPLITUDE else 1.0
    present_RLN = present_patches(
        batch["ecg_values"], batch.get("lead_mask"), batch.get("patch_mask"), ecg_config.num_patches
    ).cpu()
    return [
        Reconstruction(
            true=scale * true_RLNP[record].numpy(),
            predicted=scale * predicted_RLNP[record].numpy(),
            masked=outputs["bool_masked_pos"][record].cpu().numpy(),
            present=present_RLN[record].numpy(),
            text=_text(processor.tokenizer, batch["input_ids"][record]) if "input_ids" in batch else "",
        )
        for record in range(count)
    ]


def _text(tokenizer, input_ids: torch.Tensor) -> str:
    text = tokenizer.decode(input_ids, skip_special_tokens=True, clean_up_tokenization_spaces=True)
    # Not every WordPiece tokenizer puts the pieces of a word together again.
    return text.replace(" ##", "")
