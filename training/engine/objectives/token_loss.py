"""Cross entropy at labelled positions only, in chunks, without ever holding all logits.

Logits dominate memory: one position of SmolLM2 has 192 KiB of them in float32. The gradient of a chunk with
respect to its hidden states is computed along with its loss, so the backward pass neither keeps logits nor
computes them again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from training.engine.models.matrix_products import input_gradient, linear

CHUNK = 256
IGNORED = -100


@dataclass(frozen=True, slots=True)
class TokenLoss:
    """Over labelled positions: the differentiable loss in nats, and whether the best token is the label."""

    loss_sum: torch.Tensor
    tokens: int
    hits: torch.Tensor


def token_loss(
    hidden_states: torch.Tensor,
    targets: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    chunk: int = CHUNK,
) -> TokenLoss:
    """Return the summed cross entropy of ``hidden_states`` (T, H) with ``targets`` (T,).

    A target is -100 where there is no label. ``weight`` (V, H), ``bias`` (V,): those of the output layer.
    """
    positions = (targets != IGNORED).nonzero().squeeze(1)
    labels = targets[positions]
    rows = hidden_states[positions] if len(positions) < len(hidden_states) else hidden_states
    losses, hits = _ChunkedCrossEntropy.apply(rows, labels, weight, bias, chunk)
    return TokenLoss(losses.sum(), len(positions), hits)


def token_logprobs(
    hidden_states: torch.Tensor,
    targets: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    chunk: int = CHUNK,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the differentiable log-prob of every target and whether it is the best token, both (T,)."""
    losses, hits = _ChunkedCrossEntropy.apply(hidden_states, targets, weight, bias, chunk)
    return -losses, hits


class _ChunkedCrossEntropy(torch.autograd.Function):  # type: ignore[misc]
    """Loss of each position (N,), and whether its best token is its label (N,)."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_states: torch.Tensor,
        labels: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        chunk: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        is_differentiated = ctx.needs_input_grad[0]
        ctx.trains_head = ctx.needs_input_grad[2] or ctx.needs_input_grad[3]
        ctx.chunk = chunk
        gradient = torch.empty_like(hidden_states) if is_differentiated and not ctx.trains_head else None
        losses = torch.empty(len(hidden_states), dtype=torch.float32, device=hidden_states.device)
        hits = torch.empty(len(hidden_states), dtype=torch.bool, device=hidden_states.device)
        for start in range(0, len(hidden_states), chunk):
            part = slice(start, start + chunk)
            logits = _logits(hidden_states[part], weight, bias)
            hits[part] = logits.argmax(-1) == labels[part]
            losses[part] = _losses_in_place(logits, labels[part], keeps_gradient=gradient is not None)
            if gradient is not None:
                gradient[part] = input_gradient(logits.to(weight.dtype), weight)
            del logits  # before the next chunk's are allocated
        ctx.save_for_backward(*(() if gradient is None else (gradient,)))
        if ctx.trains_head:
            ctx.save_for_backward(hidden_states, labels, weight, bias)
        ctx.mark_non_differentiable(hits)
        return losses, hits

    @staticmethod
    def backward(ctx: Any, grad_losses: torch.Tensor, _: Any) -> tuple[torch.Tensor | None, ...]:
        if not ctx.trains_head:
            (gradient,) = ctx.saved_tensors
            return gradient * grad_losses[:, None].to(gradient.dtype), None, None, None, None
        return _backward_with_head(ctx, grad_losses)


def _logits(hidden_states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return linear(hidden_states.to(weight.dtype), weight, bias).float()


def _losses_in_place(logits: torch.Tensor, labels: torch.Tensor, *, keeps_gradient: bool) -> torch.Tensor:
    """Return the losses of a chunk; turn ``logits`` into their gradient, softmax minus one-hot, if asked.

    Otherwise they are overwritten too. There is no copy of their size, and no second exponential.
    """
    rows = torch.arange(len(labels), device=labels.device)
    largest, label_logits = logits.amax(-1), logits[rows, labels]
    sums = logits.sub_(largest[:, None]).exp_().sum(-1)
    if keeps_gradient:
        logits.div_(sums[:, None])
        logits[rows, labels] -= 1
    return sums.log() + (largest - label_logits)


def _backward_with_head(ctx: Any, grad_losses: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    """Compute logits again: gradients of a trained output layer depend on each position's factor."""
    hidden_states, labels, weight, bias = ctx.saved_tensors
    grad_hidden, grad_weight = torch.empty_like(hidden_states), torch.zeros_like(weight)
    grad_bias = None if bias is None else torch.zeros_like(bias)
    for start in range(0, len(hidden_states), ctx.chunk):
        part = slice(start, start + ctx.chunk)
        logits = _logits(hidden_states[part], weight, bias)
        _losses_in_place(logits, labels[part], keeps_gradient=True)
        grad_logits = logits.mul_(grad_losses[part, None]).to(weight.dtype)
        grad_hidden[part] = input_gradient(grad_logits, weight)
        grad_weight.addmm_(grad_logits.t(), hidden_states[part].to(weight.dtype))
        if grad_bias is not None:
            grad_bias += grad_logits.sum(0)
    return grad_hidden, None, grad_weight, grad_bias, None
