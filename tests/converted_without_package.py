# SPDX-License-Identifier: Apache-2.0
"""Embeds a signal with a converted folder where `cgdmer` cannot be imported; for conversion/test_without_package.py.

python converted_without_package.py FOLDER SIGNAL FEATURES
"""

import sys

import numpy as np
import torch

from no_package import forbid_the_package

forbid_the_package()

from transformers import AutoFeatureExtractor, AutoModel  # noqa: E402

folder, signal, features = sys.argv[1:]
model = AutoModel.from_pretrained(folder, trust_remote_code=True).eval()
values = torch.from_numpy(np.load(signal))
with torch.no_grad():
    pooled = model.base_model(values).pooler_output
extractor = AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=True)
twelve = ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"]
recording = np.random.default_rng(0).standard_normal((12, 5000))
prepared = extractor(recording, sampling_rate=500, lead_names=twelve, unit="mV", windows=True)["ecg_values"]
np.savez(features, pooled=pooled.numpy(), prepared=prepared)
