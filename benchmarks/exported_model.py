# SPDX-License-Identifier: Apache-2.0
"""An exported model in onnxruntime compared with the same model in PyTorch, both on one core.

    OMP_NUM_THREADS=1 python benchmarks/exported_model.py [--model FOLDER] [--batch_sizes 1 8]

From windows in memory to scores. PyTorch runs eagerly, with prompts already embedded. Target: at least as fast.
"""

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import onnxruntime
import torch
from machine import best_seconds, print_figures

from cgdmer.inference.exporting import export_onnx
from cgdmer.models.modeling_cgdmer import CGDMERForZeroShot
from cgdmer.presets import SHIPPED_MODEL

LABELS = ["atrial fibrillation", "left bundle branch block", "normal ECG"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default=str(SHIPPED_MODEL))
    parser.add_argument("--batch_sizes", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        exported = export_onnx(options.model, path, LABELS)
        session_options = onnxruntime.SessionOptions()
        session_options.intra_op_num_threads = session_options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(path, session_options, providers=["CPUExecutionProvider"])
    model = CGDMERForZeroShot.from_pretrained(options.model).eval()
    encoder = model.config.ecg_config
    text_embeds = torch.nn.functional.normalize(torch.randn(len(LABELS), model.config.projection_size), dim=-1)

    @torch.inference_mode()
    def eager(ecg_values: torch.Tensor) -> None:
        model(ecg_values, text_embeds=text_embeds)

    figures = {}
    for size in options.batch_sizes:
        ecg_values = torch.randn(size, encoder.num_leads, encoder.num_samples)
        contenders: dict[str, Callable] = {
            "torch": partial(eager, ecg_values),
            "onnxruntime": partial(session.run, ["scores"], {"ecg_values": ecg_values.numpy()}),
        }
        seconds = best_seconds(contenders, options.rounds)
        figures[str(size)] = {
            "milliseconds_per_ecg": {name: 1e3 * taken / size for name, taken in seconds.items()},
            "times_as_fast": seconds["torch"] / seconds["onnxruntime"],
            "at_least_as_fast": seconds["onnxruntime"] <= seconds["torch"],
        }
    print_figures({"difference": exported["difference"], "by_batch_size": figures})


if __name__ == "__main__":
    main()
