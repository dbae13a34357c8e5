"""A base model that can be fine-tuned, for the gateway's tests: its folder has headers only."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

CONTEXT_TOKENS = 512
MODULES = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.up_proj")


def write_base_model(folder: Path) -> None:
    """Write a model of one layer and 10 GiB, without its weights."""
    config = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "vocab_size": 1000,
        "max_position_embeddings": CONTEXT_TOKENS,
    }
    (folder / "config.json").write_text(json.dumps(config))
    shapes = {f"model.layers.0.{module}.weight": [64, 64] for module in MODULES}
    shapes |= {"model.embed_tokens.weight": [5 << 30, 1], "model.norm.weight": [64]}
    header = json.dumps(
        {name: {"dtype": "BF16", "shape": shape, "data_offsets": [0, 0]} for name, shape in shapes.items()}
    ).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)


def training_settings(folder: Path, **changes: Any) -> Any:
    """Return settings with ``tiny`` and ``org/private`` as models that can be fine-tuned."""
    values = {
        "training_models": {"tiny": folder, "org/private": folder},
        "training_worker_classes": {"default": None, "small": 4 << 30},
        "training_open_jobs": 5,
        **changes,
    }
    return settings.CYLLM.model_copy(update=values)


@pytest.fixture
def trainable(tmp_path: Path) -> Iterator[None]:
    """The models ``tiny`` and ``org/private`` can be fine-tuned."""
    from django.test import override_settings

    write_base_model(tmp_path)
    with override_settings(CYLLM=training_settings(tmp_path)):
        yield
