"""Attention for packed examples: one causal call per segment, so examples in a pack can't see each other.

A pack is a batch of one row that holds several examples end to end. A mask over the row would compute
attention between examples only to discard it; a call per segment computes none. ``segment_lengths``, a tuple
of token counts, travels to the attention layers as a keyword argument of the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface

from training.engine.models.shared_prefixes import Sharing, find_sharing

NAME = "cyllm_packed"
FULL_ATTENTION = "full_attention"
LENGTH_DEPENDENT_ROPE = ("dynamic", "longrope")
PROBE_LENGTHS = (9, 5, 1, 7)
PROBE_SHARED = 3  # tokens that begin the first and the second example
PROBE_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.25, torch.float16: 0.05}


class PackedAttentionError(Exception):
    """A layer asked for attention that can't be computed per segment."""


def register() -> None:
    """Make the attention known to transformers under ``NAME``. Idempotent."""
    AttentionInterface.register(NAME, packed_attention)
    AttentionMaskInterface.register(NAME, _no_mask)


def _no_mask(*_: object, **__: object) -> None:
    """Return no mask: segments are separated by calls."""


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    segment_lengths: Sequence[int] | None = None,
    sharing: Sharing | None = None,
    **other: Any,
) -> tuple[torch.Tensor, None]:
    """Attend within each segment: query (1, heads, T, d), key and value (1, groups, T, d) → (1, T, heads, d).

    With ``sharing``, query, key, value and the result are those of the distinct tokens. Raises
    PackedAttentionError for anything but full causal attention of one row.
    """
    if sharing is not None:
        query, key, value = (sharing.expand(tensor, 2) for tensor in (query, key, value))
    total = query.shape[2]
    lengths = (total,) if segment_lengths is None else tuple(segment_lengths)
    fault = _call_fault(module, query, key, attention_mask, is_causal, lengths, other)
    if fault is not None:
        raise PackedAttentionError(fault)
    is_grouped = key.shape[1] != query.shape[1]
    parts = zip(*(tensor.split(lengths, dim=2) for tensor in (query, key, value)), strict=True)
    outputs = [
        scaled_dot_product_attention(
            q, k, v, dropout_p=dropout, scale=scaling, is_causal=True, enable_gqa=is_grouped
        )
        for q, k, v in parts
    ]
    output = (torch.cat(outputs, dim=2) if len(outputs) > 1 else outputs[0]).transpose(1, 2)
    return (output.contiguous() if sharing is None else sharing.collect(output, 1)), None


def _call_fault(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    mask: torch.Tensor | None,
    is_causal: bool | None,
    lengths: tuple[int, ...],
    other: dict[str, Any],
) -> str | None:
    if mask is not None:
        return "the model adds a mask of its own"
    if not (getattr(module, "is_causal", True) if is_causal is None else is_causal):
        return "the model's attention is not causal"
    if sum(lengths) != query.shape[2] or key.shape[2] != query.shape[2]:
        return f"segments of {sum(lengths)} tokens for {query.shape[2]} queries and {key.shape[2]} keys"
    if query.shape[0] != 1 and len(lengths) > 1:
        return f"a pack is one row, not {query.shape[0]}"
    for name in ("s_aux", "softcap", "position_bias"):
        if other.get(name) is not None:
            return f"the model's attention uses {name}"
    window = other.get("sliding_window")
    if window is not None and max(lengths) > window:
        return f"a segment of {max(lengths)} tokens is longer than the sliding window of {window}"
    return None


def use_packed_attention(model: Any) -> None:
    """Switch a transformers model to packed attention."""
    register()
    model.set_attn_implementation(NAME)


def packing_obstacle(model: Any, longest: int) -> str | None:
    """Return why packs of examples of up to ``longest`` tokens would be wrong for a model, or None.

    A configuration can't rule out everything (convolutions, recurrent layers, a model's own code), so the
    last check is an experiment: a pack must give the hidden states that its examples give alone with the
    model's original attention. The model keeps its attention implementation.
    """
    return config_obstacle(model, longest) or _experiment_obstacle(model)


def config_obstacle(model: Any, longest: int) -> str | None:
    """Return the reason that class and configuration give against packing, or None."""
    config = model.config.get_text_config()
    if not getattr(type(model), "_supports_attention_backend", False):
        return f"{type(model).__name__} does not let its attention be replaced"
    if not getattr(type(model), "_supports_sdpa", False):
        return f"{type(model).__name__} does not support scaled dot-product attention"
    if getattr(config, "attn_logit_softcapping", None) is not None:
        return "the attention caps its logits"
    by_length = _window_obstacle(config, longest) or _rope_obstacle(config, longest)
    if by_length is not None:
        return by_length
    foreign = sorted(set(getattr(config, "layer_types", None) or ()) - {FULL_ATTENTION, "sliding_attention"})
    return f"it has layers of type {', '.join(foreign)}" if foreign else None


def _window_obstacle(config: Any, longest: int) -> str | None:
    layer_types = getattr(config, "layer_types", None)
    if layer_types is not None and "sliding_attention" not in layer_types:
        return None
    window = getattr(config, "sliding_window", None)
    if window is None or not getattr(config, "use_sliding_window", True) or longest <= window:
        return None
    return f"examples of up to {longest} tokens exceed the sliding window of {window}"


def _rope_obstacle(config: Any, longest: int) -> str | None:
    """Return a reason if rotary frequencies depend on the longest example of a pack. Lanes share them too."""
    parameters = getattr(config, "rope_parameters", None) or {}
    kinds = [parameters, *(kind for kind in parameters.values() if isinstance(kind, dict))]
    for kind in kinds:
        if kind.get("rope_type") in LENGTH_DEPENDENT_ROPE:
            original = kind.get("original_max_position_embeddings") or config.max_position_embeddings
            if longest > original:
                return f"positions of examples of over {original} tokens are scaled by their length"
    return None


def _experiment_obstacle(model: Any) -> str | None:
    original, was_training = model.config._attn_implementation, model.training
    tokens = _probe_tokens(model)
    model.eval()
    try:
        separate_states = torch.cat([_hidden(model, part) for part in tokens.split(PROBE_LENGTHS)], dim=1)
        use_packed_attention(model)
        packed_hidden = _hidden(model, tokens, PROBE_LENGTHS)
    except (PackedAttentionError, TypeError, ValueError) as error:
        return f"a trial failed: {error}"
    finally:
        model.set_attn_implementation(original)
        model.train(was_training)
    difference = float(
        (packed_hidden - separate_states).float().abs().max()
        / separate_states.float().abs().mean().clamp_min(1e-6)
    )
    tolerance = PROBE_TOLERANCE.get(separate_states.dtype, 0.25)
    if difference <= tolerance:
        return None
    return f"packed examples influence each other (hidden states differ by {difference:.2g} of their mean)"


def _probe_tokens(model: Any) -> torch.Tensor:
    size = model.get_input_embeddings().weight.shape[0]
    tokens = (torch.arange(sum(PROBE_LENGTHS), device=model.device) * 7919 + 17) % size
    first, second = tokens.split(PROBE_LENGTHS)[:2]
    second[:PROBE_SHARED] = first[:PROBE_SHARED]
    return tokens


def _hidden(model: Any, tokens: torch.Tensor, lengths: tuple[int, ...] | None = None) -> torch.Tensor:
    positions = position_ids(lengths or (len(tokens),), tokens.device)
    segments: dict[str, Any] = {}
    sharing = None
    if lengths is not None:
        sharing = find_sharing([part.cpu().numpy() for part in tokens.split(lengths)])
        segments = {"segment_lengths": lengths, "sharing": sharing}
    if sharing is not None:
        tokens, positions = tokens[sharing.positions], positions[sharing.positions]
    with torch.no_grad():
        output = model.base_model(
            input_ids=tokens[None], position_ids=positions[None], use_cache=False, **segments
        )
    hidden_states: torch.Tensor = output.last_hidden_state
    return hidden_states if sharing is None else sharing.expand(hidden_states, 1)


def position_ids(lengths: Sequence[int], device: torch.device | None = None) -> torch.Tensor:
    """Return positions that start at 0 in each segment, shape (T,)."""
    return torch.cat([torch.arange(length, device=device) for length in lengths])
