# SPDX-License-Identifier: Apache-2.0
"""What all models share: loading, saving, initialization, checks of their input, and masked means.

Shapes: B batch, L leads, N patches per lead, K tokens, D width.
"""

import os
from contextlib import nullcontext
from typing import ClassVar

import torch
from torch import nn
from transformers import PreTrainedConfig
from transformers import initialization as init

from .ecg_decoder import ECGDecoder
from .errors import CGDMERError, ConfigurationError, ECGInputError, ModelFolderError
from .hub_folder import HubFolderModel
from .lead_time_tokenizer import LeadTimeTokenizer, init_lead_and_time_embeddings
from .safe_weights import refuse_more_than_stored, safetensors_only
from .transformer_layers import ECGAttention, ECGLayer


class ECGPreTrainedModel(HubFolderModel):
    """Base of every family's classes: loading, saving, initialization, and what the package expects of a family.

    A family consists of its own configuration and modeling files and an entry in `cgdmer/families.py`. Training,
    evaluation, inference, and publishing know no family. They rely on this:

    - Every class is the ECG encoder or has it as `ecg_model`, so each loads from a checkpoint of any other.
      `model.base_model(...)` gives `pooler_output`, the feature of a record. The decoder, if any, is `ecg_decoder`;
      the layers of both can be compiled.
    - A configuration is the ECG branch or has it as `ecg_config`. `aligns` says whether ECGs are trained to be near
      their texts, so that texts can be scored; `contrasts`, whether any loss compares the records of a batch. The
      optional `noise_shapes` names the uniform random numbers that the model needs for each training record.
    - `tokens_have_leads`: each of the encoder's tokens belongs to one lead; `visible_indices` of its output says to
      which.
    - `input_modalities` says whether a class takes texts; those that do are `modeling_ecg_text.ECGTextModel`s.
    - `auto_classes` and `pipelines` say which of transformers' Auto classes and which pipelines serve a folder.
    - The class for pretraining is also a `pretraining_base.PreTrainingMixin`.
    """

    base_model_prefix = "ecg_model"
    accepts_loss_kwargs = False  # else Trainer passes num_items_in_batch, and expects a loss that was divided by it
    main_input_name = "ecg_values"
    input_modalities: ClassVar[tuple[str, ...]] = ("ecg",)
    tokens_have_leads: ClassVar[bool] = False
    supports_gradient_checkpointing = True
    _no_split_modules: ClassVar = ["ECGLayer", "LeadTimeTokenizer"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_record_outputs: ClassVar = {"hidden_states": ECGLayer, "attentions": ECGAttention}
    # Parts of a checkpoint that a class may not have: each class loads its own.
    _keys_to_ignore_on_load_unexpected: ClassVar = [
        r"^(ecg|text)_decoder\.",
        r"^vocabulary_head\.",
        r"^[a-z]+_(log_scale|bias)$",  # learned by a loss
        r"^(ecg|text)_([a-z]+_)?head\.",
        r"^text_model\.",
        r"^classifier\.",
    ]
    # Parts that start from random weights if a checkpoint lacks them; any other missing part is an error.
    _may_be_missing: ClassVar[tuple[str, ...]] = ()
    pipelines: ClassVar = {"ecg-embedding"}
    # The initial values of those parts that the checkpoint lacked.
    _drawn_weights: dict[str, torch.Tensor] | None = None

    @property
    def is_untrained_in_part(self) -> bool:
        """Whether weights that the checkpoint lacked still have their random initial values: outputs are chance."""
        drawn = self._drawn_weights or {}
        return bool(drawn) and all(torch.equal(self.get_parameter(name).cpu(), drawn[name]) for name in drawn)

    @property
    def takes_texts(self) -> bool:
        return "text" in self.input_modalities

    @property
    def classifies(self) -> bool:
        """Whether it has a classifier for labels of its own."""
        return "ecg-classification" in self.pipelines

    def post_init(self) -> None:
        refuse_more_than_stored(self)
        super().post_init()

    def resize_token_embeddings(self, new_num_tokens=None, *args, **kwargs):
        """As in transformers, for a model with a text tower.

        Raises:
            ConfigurationError: the model takes no texts, so it has no vocabulary.
        """
        if not self.takes_texts:
            raise ConfigurationError(f"{type(self).__name__} takes no texts, so there is no vocabulary to resize.")
        return super().resize_token_embeddings(new_num_tokens, *args, **kwargs)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Conv1d)):
            # Scaled to the layer's size: a fixed deviation of 0.02 suits a width of 768 but stalls one of 128.
            init.xavier_uniform_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, (nn.LayerNorm, nn.GroupNorm)):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm1d):
            for ones in (module.weight, module.running_var):
                init.ones_(ones)
            for zeros in (module.bias, module.running_mean, module.num_batches_tracked):
                init.zeros_(zeros)
        elif isinstance(module, nn.Embedding):
            init.trunc_normal_(module.weight, std=self.config.initializer_range)
        elif isinstance(module, (LeadTimeTokenizer, ECGDecoder)):
            init_lead_and_time_embeddings(module.lead_embedding, module.time_embedding)
            if isinstance(module, ECGDecoder):
                init.trunc_normal_(module.mask_token, std=self.config.initializer_range)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, output_loading_info=False, **kwargs):
        """As in transformers, except that only safetensors are loaded and missing weights raise an error.

        transformers would print a table and use random weights instead. Parts that are trained from scratch (a new
        `classifier`) may be missing.

        Raises:
            ModelFolderError: the folder has no weights, their sizes differ from the configuration, or parts are
                missing.
        """
        path = pretrained_model_name_or_path
        if path is not None and os.path.isdir(path):
            folder = os.path.join(path, kwargs.get("subfolder", ""))
            if not any(name.endswith((".safetensors", ".safetensors.index.json")) for name in os.listdir(folder)):
                raise ModelFolderError(
                    f"{folder} holds no weights (no .safetensors file). Is it a preset from hub_configs, or an "
                    "unfinished run? To start from random weights, use the class's constructor with its config."
                )
        try:
            with safetensors_only(path, kwargs) if path is not None else nullcontext():
                model, info = super().from_pretrained(path, *args, output_loading_info=True, **kwargs)
        except (CGDMERError, OSError):  # no network, or no such repository: transformers explains it well
            raise
        except Exception as error:  # of transformers, for which a configuration is trusted
            problem = f"cannot be loaded ({type(error).__name__})"
            if isinstance(error, RuntimeError) and "mismatch" in str(error):
                problem = "has weights of other sizes than its configuration: they belong to another one"
            elif isinstance(error, ImportError):  # of a quantization, or of attention
                problem = "needs a library that is not installed"
            raise ModelFolderError(f"{path} {problem}. {error}") from error
        missing = [key for key in info["missing_keys"] if not key.startswith(cls._may_be_missing)]
        if missing and path is not None:
            raise ModelFolderError(
                f"{path} lacks {len(missing)} weights that {cls.__name__} needs (the first: {sorted(missing)[0]}). "
                "They would be random. Load it with the class that saved it, or with one that has fewer parts."
            )
        drawn = {*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])}
        model._drawn_weights = {
            name: weight.detach().cpu().clone()
            for name, weight in model.named_parameters()
            if name in drawn and name.startswith(cls._may_be_missing)
        }
        return (model, info) if output_loading_info else model


def check_ecg_values(ecg_values: torch.Tensor, config: PreTrainedConfig) -> None:
    expected = (config.num_leads, config.num_samples)
    if not isinstance(ecg_values, torch.Tensor) or not ecg_values.is_floating_point():
        kind = ecg_values.dtype if isinstance(ecg_values, torch.Tensor) else type(ecg_values).__name__
        raise ECGInputError(f"ecg_values is {kind}; expected the feature extractor's tensor of floats.")
    if ecg_values.ndim != 3 or not ecg_values.shape[0] or tuple(ecg_values.shape[1:]) != expected:
        raise ECGInputError(
            f"ecg_values has shape {tuple(ecg_values.shape)}; expected (batch, {expected[0]}, {expected[1]}). "
            "The model's feature extractor returns this shape for any recording."
        )


def present_patches(
    ecg_values: torch.Tensor, lead_mask: torch.Tensor | None, patch_mask: torch.Tensor | None, num_patches: int
) -> torch.Tensor:
    """(B, L, N) bool: the lead was recorded and the patch lies within the recording."""
    batch, leads, _ = ecg_values.shape
    for name, mask, size in (("lead_mask", lead_mask, leads), ("patch_mask", patch_mask, num_patches)):
        if mask is not None and not isinstance(mask, torch.Tensor):
            raise ECGInputError(f"{name} is {type(mask).__name__}; expected the feature extractor's tensor.")
        if mask is not None and tuple(mask.shape) != (batch, size):
            raise ECGInputError(
                f"{name} has shape {tuple(mask.shape)}; expected {(batch, size)}. Does the feature extractor belong "
                "to another model?"
            )
    present = torch.ones(batch, leads, num_patches, dtype=torch.bool, device=ecg_values.device)
    if lead_mask is not None:
        present = present & lead_mask.bool()[:, :, None]
    if patch_mask is not None:
        present = present & patch_mask.bool()[:, None, :]
    return present


def masked_mean(hidden_BKD: torch.Tensor, mask_BK: torch.Tensor) -> torch.Tensor:
    """(B, D), the mean over the tokens in the mask; zeros for a record with none."""
    weights_BK1 = mask_BK[..., None].to(hidden_BKD.dtype)
    return (hidden_BKD * weights_BK1).sum(dim=1) / weights_BK1.sum(dim=1).clamp(min=1)
