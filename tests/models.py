"""Models for tests, created once and kept in ``.cyllm/test-models``.

``python -m tests.models`` creates the tiny one if it is missing and prints its folder.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from deploy.local.demo.default_model import complete_folder, is_model_complete, prepare_model
from tests.locks import locked

CACHE = Path(__file__).resolve().parents[1] / ".cyllm" / "test-models"
LOCK = CACHE / "lock"
SEED = 0


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct as a model folder."""
    return smollm2_folder()


@pytest.fixture(scope="session")
def tiny_model() -> Path:
    """A Llama of two layers with random weights and SmolLM2's tokenizer: quick, and generates nonsense."""
    return tiny_folder()


@pytest.fixture(scope="session")
def thinking_model() -> Path:
    """Like ``tiny_model``, with reasoning delimiters and a tokenizer that begins each text with a token."""
    return thinking_folder()


def smollm2_folder() -> Path:
    """Return the folder of ``smollm2``, created if it is missing."""
    with locked(LOCK):
        prepare_model(CACHE / "smollm2")
    return CACHE / "smollm2"


def tiny_folder() -> Path:
    """Return the folder of ``tiny_model``, created if it is missing."""
    return _tiny_folder("tiny", [])


def thinking_folder() -> Path:
    """Return the folder of ``thinking_model``, created if it is missing."""
    return _tiny_folder("reasoning", ["<think>", "</think>"])


def _tiny_folder(name: str, tokens: list[str]) -> Path:
    folder = CACHE / name
    if not is_model_complete(folder):
        source = smollm2_folder()
        with locked(LOCK):
            if not is_model_complete(folder):
                _create_tiny(source, folder, tokens)
    return folder


def _create_tiny(smollm2: Path, folder: Path, tokens: list[str]) -> None:
    import torch
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    if tokens:
        first = tokenizer.bos_token
        tokenizer.add_tokens(tokens)
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=f"{first} $A", special_tokens=[(first, tokenizer.bos_token_id)]
        )
    config = LlamaConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        vocab_size=len(tokenizer),
        max_position_embeddings=2048,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(SEED)
    LlamaForCausalLM(config).save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    complete_folder(partial, folder)


if __name__ == "__main__":
    print(tiny_folder())
