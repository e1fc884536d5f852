# SPDX-License-Identifier: Apache-2.0
"""The operations of a training step, by torch's counter, and the peak rates of devices.

Only matrix products and convolutions count, with a multiplication and an addition as two operations; norms,
activations, and the softmax of attention do not. Attention counts in full, including masked positions and the upper
half of a causal decoder. What `--contrastive_chunk_size` or gradient checkpointing computes twice counts once. So
operations per second divided by a device's peak rate are its model FLOP utilization.
"""

import copy
import re

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils.flop_counter import FlopCounterMode
from transformers.initialization import no_init_weights

from cgdmer.families import Purpose, class_for
from cgdmer.models.modeling_base import ECGPreTrainedModel

# Dense 16-bit matrix products with 32-bit sums, in 10^12 operations per second, from the makers' data sheets. The
# first name found in a device's own name applies.
PEAK_TERAFLOPS = {
    "B200": 2250.0,
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H100": 989.0,
    "H200": 989.0,
    "GH200": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "L40": 181.0,
    "A6000": 155.0,
    "A40": 150.0,
    "A10G": 70.0,
    "A10": 125.0,
    "L4": 121.0,
    "V100": 125.0,
    "T4": 65.0,
    "RTX 4090": 165.0,
    "RTX 3090": 71.0,
}


def step_flops(model: ECGPreTrainedModel, batch: dict[str, torch.Tensor]) -> int:
    """Operations of one forward and backward pass over a batch.

    A copy of the model runs the step on fake tensors, which have shapes but no values. This takes about a second of
    CPU time, no memory, and no GPU, and does not change the model. Every patch counts as recorded. The losses that
    compare the records of a batch are left out: they wait for other processes, and cost next to nothing.

    Args:
        model: for pretraining; only its configuration and which of its weights are trained matter.
        batch: as made by `cgdmer.training.pairs`; only its shapes matter.

    Raises:
        RuntimeError: the computation depends on values that a fake tensor does not have.
    """
    config = copy.deepcopy(model.config)
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    # A ShapeEnv lets a model select by a mask, although the size of the result is unknown.
    with FakeTensorMode(shape_env=ShapeEnv()):
        with no_init_weights():
            # Eager attention, because the counter does not know the CPU's fused kernel.
            twin = class_for(config, Purpose.PRETRAINING)._from_config(config, attn_implementation="eager")
        for name, weight in twin.named_parameters():
            weight.requires_grad_(name in trained)
        inputs = {
            name: torch.empty(tensor.shape, dtype=tensor.dtype)
            for name, tensor in batch.items()
            if name not in ("lead_mask", "patch_mask")
        }
        with FlopCounterMode(display=False) as counter:
            outputs = twin.train()(**inputs, align=False)
            results = (outputs.get(name) for name in ("loss", *twin.compared))
            torch.autograd.backward([result.sum() for result in results if result is not None])
    return counter.get_total_flops()


def peak_teraflops(device_name: str) -> float | None:
    """The device's peak rate of 16-bit matrix products; None if it is not in the table."""
    return next((peak for name, peak in PEAK_TERAFLOPS.items() if re.search(rf"\b{name}\b", device_name)), None)
