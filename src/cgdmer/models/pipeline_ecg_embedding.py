# SPDX-License-Identifier: Apache-2.0
"""The pipeline `ecg-embedding`: recordings in, one vector per recording out."""

import torch

from .pipeline_ecg_classification import ECGPipeline


class ECGEmbeddingPipeline(ECGPipeline):
    """The encoder's feature of a recording, which linear probes use, averaged over the windows of a long one.

    ```python
    embed = pipeline("ecg-embedding", model="org/model")
    embed("records500/00000/00001_hr")  # (width,) float32
    ```

    Works with any model of the package. For arrays, pass `sampling_rate`, `lead_names`, `unit`, and `gain`. Returns a
    NumPy array for each recording. Not a medical device.
    """

    def window_output(self, model_inputs, **forward_parameters) -> torch.Tensor:
        return self.model.base_model(**model_inputs, **forward_parameters).pooler_output

    def postprocess(self, model_outputs):
        return self.mean_over_windows(model_outputs).cpu().numpy()
