# SPDX-License-Identifier: Apache-2.0
"""The pipeline `ecg-embedding`: recordings in, one vector each out."""

import torch

from .pipeline_ecg_classification import ECGPipeline


class ECGEmbeddingPipeline(ECGPipeline):
    """The encoder's feature of a recording, which linear probes see; a long one is averaged over its windows.

    ```python
    embed = pipeline("ecg-embedding", model="org/model")
    embed("records500/00000/00001_hr")  # (width,) float32
    ```

    Any model of the package will do. For arrays: `sampling_rate`, `lead_names`, `unit`, `gain`. Returns, for
    each recording, a NumPy array. Not a medical device.
    """

    _load_processor = False
    _load_image_processor = False
    _load_video_processor = False
    _load_feature_extractor = True
    _load_tokenizer = False

    def _sanitize_parameters(self, **kwargs):
        return self._signal_parameters(kwargs), {}, {}

    def model_logits(self, model_inputs, **forward_parameters) -> torch.Tensor:
        return self.model.base_model(**model_inputs, **forward_parameters).pooler_output

    def postprocess(self, model_outputs):
        return self.mean_logits(model_outputs).cpu().numpy()
