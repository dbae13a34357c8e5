"""Logits of a language model at selected positions only."""

from __future__ import annotations

from typing import Any

import torch


def selected_logits(model: Any, inputs: dict[str, torch.Tensor], positions: torch.Tensor) -> torch.Tensor:
    """Return logits of shape (positions, vocabulary). ``positions`` count through the flattened batch.

    The output layer is given the hidden states of these positions alone, inside the model's own forward pass:
    scaling and capping of logits, autocast and wrappers for several devices stay as they are.
    """
    head = output_layer(model)

    def select(_module: torch.nn.Module, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        hidden_states, *rest = arguments
        return (hidden_states.flatten(0, -2)[positions].unsqueeze(0), *rest)

    with head.register_forward_pre_hook(select):
        logits: torch.Tensor = model(**inputs, use_cache=False).logits
    return logits[0]


def output_layer(model: Any) -> torch.nn.Module:
    """Return the layer that maps hidden states to the vocabulary."""
    inner = getattr(model, "module", model)  # a wrapper for several devices
    layer: torch.nn.Module = inner.get_output_embeddings()
    return layer
