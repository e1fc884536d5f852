# SPDX-License-Identifier: Apache-2.0
"""Operations of a training step, as torch's counter counts them, and how many a device can do.

Counted are matrix products and convolutions, a multiplication and an addition as two operations: not norms,
activations, or the softmax of attention. Attention counts whole, masked places and a causal decoder's upper half
included. What `--contrastive_chunk_size` or gradient checkpointing computes twice counts once, so that operations
divided by seconds and by a device's peak rate are its model FLOP utilization.
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

# Dense 16-bit matrix products with 32-bit sums, in 10^12 operations per second, as the makers' data sheets state them;
# the first name that stands in a device's own counts.
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

    A copy of the model makes the step with fake tensors, which have shapes and no numbers. That takes about a second
    of the processor, no memory and nothing of a GPU, and leaves the model as it is. Every patch counts as recorded.
    The losses that compare the records of a batch are left out: they wait for other processes, and cost next to
    nothing.

    Args:
        model: for pretraining; its configuration counts, and which of its weights are trained.
        batch: as `cgdmer.training.pairs` makes it, of which only the shapes matter.

    Raises:
        RuntimeError: what the model computes depends on numbers that a fake tensor does not have.
    """
    config = copy.deepcopy(model.config)
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    # A ShapeEnv lets a model select by a mask, although nobody knows how much that selects.
    with FakeTensorMode(shape_env=ShapeEnv()):
        with no_init_weights():
            # Attention written out: the counter does not know the processor's fused kernel.
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
    """The device's highest rate of 16-bit matrix products; None where it is not in the table."""
    return next((peak for name, peak in PEAK_TERAFLOPS.items() if re.search(rf"\b{name}\b", device_name)), None)
