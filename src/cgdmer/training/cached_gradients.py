# SPDX-License-Identifier: Apache-2.0
"""The gradient of a contrastive step on a large batch, in the memory of a small one (arXiv 2101.06983).

The alignment losses need the embeddings of the whole batch at once, but not the graphs behind them. So the batch is
embedded in chunks without graphs, and the losses give the gradient at each embedding. Then each chunk is encoded again
with its graph, and backpropagates its own losses together with the gradients found at its embeddings. The result is
that of the plain step; each chunk is encoded twice.
"""

from contextlib import nullcontext
from typing import Any

import torch
from accelerate import Accelerator

from cgdmer.training.sharding import as_whole


def backward_in_chunks(
    accelerator: Accelerator, model: torch.nn.Module, batch: dict[str, torch.Tensor], chunk_size: int
) -> Any:
    """Add the gradients of one batch to the model's parameters, instead of a forward and a backward pass.

    Args:
        accelerator: accumulates, scales, and averages over processes as for a plain step.
        model: prepared; a `models.pretraining_base.PreTrainingMixin`.
        batch: tensors with one row per record, or with one per text. Every text is encoded, repeated ones too.
        chunk_size: how many records have a graph at a time.

    Returns:
        The model's own output: the losses, without graph, and the embeddings.
    """
    core: Any = accelerator.unwrap_model(model)
    chunks = _chunks(batch, chunk_size)
    states = []
    embeds: dict[str, list[torch.Tensor]] = {name: [] for name in core.compared}
    with torch.no_grad():
        for chunk in chunks:
            states.append(_random_state(accelerator.device))
            outputs = model(**chunk, embeds_only=True)
            for name, found in embeds.items():
                found.append(outputs[name])
    whole = {name: torch.cat(found).requires_grad_() for name, found in embeds.items()}
    parameters = core.alignment_parameters()
    copies = tuple(as_whole(getattr(core, name)).clone().requires_grad_() for name in parameters)
    statements = {name: batch.get(name) for name in ("ecg_statement_ids", "text_statement_ids")}
    losses = core.alignment_losses(*whole.values(), **statements, parameters=copies or None)
    gradients = torch.autograd.grad(core.weighted(losses), [*whole.values(), *copies])
    at_embeds, at_parameters = dict(zip(whole, gradients, strict=False)), gradients[len(whole) :]
    losses = {name: loss.detach() for name, loss in losses.items()}

    count, start = len(batch["ecg_values"]), 0
    for number, chunk in enumerate(chunks):
        is_last = number == len(chunks) - 1
        first, start = start, start + len(chunk["ecg_values"])
        # Processes exchange gradients once, with those of the last chunk.
        with nullcontext() if is_last else accelerator.no_sync(model):
            _set_random_state(states[number], accelerator.device)
            outputs = model(**chunk, align=False)
            loss: Any = 0
            for name, gradient in at_embeds.items():
                per_record = len(gradient) // count  # more than one where a record has several texts
                loss = loss + (outputs[name] * gradient[first * per_record : start * per_record]).sum()
            share = len(chunk["ecg_values"]) / count
            if outputs.loss is not None:
                loss = loss + share * outputs.loss
            if is_last:
                # Under FSDP2 the parameters are whole, not sharded, between the forward and the backward pass.
                for name, gradient in zip(parameters, at_parameters, strict=True):
                    loss = loss + (getattr(core, name) * gradient).sum()
            accelerator.backward(loss)
        for name in core.loss_weights():
            if (own := outputs.get(f"{name}_loss")) is not None:
                losses[name] = losses.get(name, 0.0) + share * own.detach()
    output = core.output_class(**{name: embeds.detach() for name, embeds in whole.items()})
    return core.with_losses(output, losses, batch.get("ecg_statement_ids"))


def _chunks(batch: dict[str, torch.Tensor], size: int) -> list[dict[str, torch.Tensor]]:
    """Of `size` records and their texts each."""
    parts = {}
    for name, rows in batch.items():
        if name not in ("distinct_texts", "text_index"):
            parts[name] = rows.split(size * (len(rows) // len(batch["ecg_values"])))
    return [dict(zip(parts, chunk, strict=True)) for chunk in zip(*parts.values(), strict=True)]


def _random_state(device: torch.device) -> tuple[torch.Tensor, Any]:
    """The source of dropout: the second pass of a chunk must drop what the first one dropped."""
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _set_random_state(state: tuple[torch.Tensor, Any], device: torch.device) -> None:
    torch.set_rng_state(state[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state[1], device)
