"""LoRA as one matrix product per layer: the update is added to the weight instead of to the output.

The update B·A costs less than two more products and three passes over the output. The gradients of A and B
use the factored form, so none of the size of the weight is computed. Only for float32: added to a
half-precision weight, a small update would be rounded away.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch

from training.engine.models.matrix_products import input_gradient, linear


def use_merged_forward(model: torch.nn.Module) -> int:
    """Switch the plain LoRA layers of a peft model to the merged forward pass; return their number."""
    from peft.tuners.lora import Linear

    layers = [module for module in model.modules() if isinstance(module, Linear) and _is_plain(module)]
    for layer in layers:
        layer.forward = MethodType(_forward, layer)
    return len(layers)


def _is_plain(layer: Any) -> bool:
    """Return whether a layer is LoRA in float32 without dropout, bias, variant or a second adapter."""
    names = layer.active_adapters
    if len(names) != 1 or names[0] in layer.lora_variant or layer.lora_bias[names[0]] or layer.fan_in_fan_out:
        return False
    dropout = layer.lora_dropout[names[0]]
    weights = (layer.get_base_layer().weight, layer.lora_A[names[0]].weight, layer.lora_B[names[0]].weight)
    has_dropout = not isinstance(dropout, torch.nn.Identity) and getattr(dropout, "p", 1.0) > 0
    has_grad = layer.get_base_layer().weight.requires_grad
    return not has_dropout and not has_grad and all(weight.dtype == torch.float32 for weight in weights)


def _forward(layer: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    base = layer.get_base_layer()
    if (
        layer.disable_adapters
        or layer.merged
        or x.dtype != torch.float32
        or torch.is_autocast_enabled(x.device.type)
    ):
        output: torch.Tensor = type(layer).forward(layer, x, *args, **kwargs)
        return output
    name = layer.active_adapters[0]
    a, b = layer.lora_A[name].weight, layer.lora_B[name].weight
    result: torch.Tensor = _MergedLinear.apply(x, base.weight, base.bias, a, b, layer.scaling[name])
    return result


class _MergedLinear(torch.autograd.Function):  # type: ignore[misc]
    """x·(W + s·B·A)ᵀ + b for x (…, in), W (out, in), A (r, in), B (out, r)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        a: torch.Tensor,
        b: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        ctx.scale = scale
        ctx.save_for_backward(x, weight, a, b)
        return linear(x, torch.addmm(weight, b, a, alpha=scale), bias)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, a, b = ctx.saved_tensors
        flat_x, flat_grad = x.reshape(-1, x.shape[-1]), grad.reshape(-1, grad.shape[-1])
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = input_gradient(grad, torch.addmm(weight, b, a, alpha=ctx.scale))
        grad_inner = flat_grad @ b  # (N, r)
        grad_a = grad_inner.t() @ flat_x * ctx.scale
        grad_b = flat_grad.t() @ (flat_x @ a.t()) * ctx.scale
        return grad_x, None, None, grad_a, grad_b, None
