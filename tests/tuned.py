"""Adapters for tests, as peft saves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def save_adapter(base: Path, folder: Path, *, seed: int, rank: int = 8, **options: Any) -> Path:
    """Save a LoRA adapter with weights far from zero, and return its folder."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    settings = {"target_modules": ["q_proj", "v_proj"], "init_lora_weights": False, **options}
    # Without the base model's embeddings, which peft adds to an adapter of the output layer.
    tuned_model = get_peft_model(model, LoraConfig(r=rank, **settings))
    tuned_model.save_pretrained(str(folder), save_embedding_layers=False)
    return folder
