# SPDX-License-Identifier: Apache-2.0
"""The gradient of a contrastive step on a large batch, in the memory of a small one (arXiv 2101.06983).

The alignment losses need the embeddings of the whole batch at once, but not the graphs behind them. So the batch is
embedded in chunks without graphs; the losses give the gradient at each embedding; then each chunk is passed again with
its graph, its own losses are taken, and its embeddings are pulled along the gradients found. The result is that of the
plain step; each chunk is encoded twice.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import torch
from accelerate import Accelerator

from cgdmer.training.sharding import as_whole


def backward_in_chunks(
    accelerator: Accelerator, model: torch.nn.Module, batch: dict[str, torch.Tensor], chunk_size: int
) -> Any:
    """Add the gradients of one batch to the model's parameters; in place of a forward and a backward pass.

    Args:
        accelerator: divides by the accumulated steps, scales and averages over processes as for a plain step.
        model: prepared; a `models.pretraining_base.PreTrainingMixin`.
        batch: tensors with one row a record, or as many rows a record as it has texts. Each text is encoded by itself,
            also one that comes several times.
        chunk_size: how many records have a graph at a time.

    Returns:
        The model's own output: the losses, without graph, and the embeddings.
    """
    core: Any = accelerator.unwrap_model(model)
    chunks = list(_chunks(batch, chunk_size))
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
        # Processes exchange gradients once, with the last chunk's.
        with nullcontext() if is_last else accelerator.no_sync(model):
            _set_random_state(states[number], accelerator.device)
            outputs = model(**chunk, align=False)
            loss: Any = 0
            for name, gradient in at_embeds.items():
                a_record = len(gradient) // count  # of texts there may be several rows
                loss = loss + (outputs[name] * gradient[first * a_record : start * a_record]).sum()
            share = len(chunk["ecg_values"]) / count
            if outputs.loss is not None:
                loss = loss + share * outputs.loss
            if is_last:
                # Under FSDP2 these are whole, and no longer parts, from the forward to the backward pass.
                for name, gradient in zip(parameters, at_parameters, strict=True):
                    loss = loss + (getattr(core, name) * gradient).sum()
            accelerator.backward(loss)
        for name in core.loss_weights():
            if (own := outputs.get(f"{name}_loss")) is not None:
                losses[name] = losses.get(name, 0.0) + share * own.detach()
    output = core.output_class(**{name: embeds.detach() for name, embeds in whole.items()})
    return core.with_losses(output, losses, batch.get("ecg_statement_ids"))


def _chunks(batch: dict[str, torch.Tensor], size: int) -> Iterator[dict[str, torch.Tensor]]:
    by_record = {name: rows for name, rows in batch.items() if name not in ("distinct_texts", "text_index")}
    count = len(batch["ecg_values"])
    for start in range(0, count, size):
        # Of texts there may be several rows a record.
        rows_a_record = {name: len(rows) // count for name, rows in by_record.items()}
        yield {
            name: rows[start * rows_a_record[name] : (start + size) * rows_a_record[name]]
            for name, rows in by_record.items()
        }


def _random_state(device: torch.device) -> tuple[torch.Tensor, Any]:
    """What dropout draws from: the second pass of a chunk must drop what the first one dropped."""
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _set_random_state(state: tuple[torch.Tensor, Any], device: torch.device) -> None:
    torch.set_rng_state(state[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state[1], device)
