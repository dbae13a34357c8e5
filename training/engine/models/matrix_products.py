"""Matrix products in float32 by one of the two libraries that torch has on x86.

torch prefers MKL. On AMD processors with AVX-512, oneDNN was 1.2 to 1.8 times as fast with most shapes of
training. The two round differently.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MethodType
from typing import Any

import torch

VENDOR = "AuthenticAMD"


@dataclass
class _Library:
    uses_onednn: bool = False


_LIBRARY = _Library()


def select_library(*, uses_onednn: bool) -> None:
    """Select the library of this process: oneDNN, or the one that torch prefers."""
    _LIBRARY.uses_onednn = uses_onednn


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """Return x·Wᵀ + b for x (…, in), W (out, in), b (out,). Not differentiable."""
    if _uses_onednn(x, weight):
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return product
    return torch.nn.functional.linear(x, weight, bias)


def input_gradient(grad: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return the gradient g·W of the input of ``linear`` for g (…, out)."""
    return linear(grad, weight.t())


def use_fast_products(model: torch.nn.Module) -> int:
    """Switch the frozen linear layers of a model to ``linear`` if it is oneDNN's; return their number."""
    if not _LIBRARY.uses_onednn:
        return 0
    layers = [module for module in model.modules() if _is_frozen_linear(module)]
    for layer in layers:
        layer.forward = MethodType(_forward, layer)
    return len(layers)


@cache
def has_fast_onednn() -> bool:
    """Return whether oneDNN is faster than the library that torch prefers."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or not has_onednn():
        return False
    try:
        return VENDOR in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False


def has_onednn() -> bool:
    """Return whether torch has oneDNN."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _uses_onednn(x: torch.Tensor, weight: torch.Tensor) -> bool:
    is_float32 = x.dtype == weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return is_float32 and x.device.type == "cpu" and x.numel() > 0 and _LIBRARY.uses_onednn


def _is_frozen_linear(module: torch.nn.Module) -> bool:
    if type(module) is not torch.nn.Linear or module.weight.dtype != torch.float32:
        return False
    return module.weight.device.type == "cpu" and not any(
        parameter.requires_grad for parameter in module.parameters()
    )


def _forward(layer: Any, x: torch.Tensor) -> torch.Tensor:
    if x.dtype != torch.float32 or torch.is_autocast_enabled(x.device.type):
        return torch.nn.functional.linear(x, layer.weight, layer.bias)
    product: torch.Tensor = _FrozenLinear.apply(x, layer.weight, layer.bias)
    return product


class _FrozenLinear(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        ctx.save_for_backward(weight)
        return linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        return input_gradient(grad, weight), None, None
