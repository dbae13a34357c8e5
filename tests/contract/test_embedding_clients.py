"""Embeddings with every client that has them, against an embedding model beside the stack's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest

from tests.contract.client_environments import Guest
from tests.embedder import embedding_worker
from tests.stacks import RunningStack

TEXTS = ["The sea is calm.", "海は静かだ。", "Ça va 😀?"]


@pytest.fixture(scope="module")
def embedder(stack: RunningStack, tiny_model: Path) -> Iterator[str]:
    """The name of an embedding model."""
    with embedding_worker(stack, tiny_model) as model:
        yield model


@pytest.fixture(scope="module")
def wanted(client: openai.OpenAI, embedder: str) -> Any:
    """The vectors as the SDK for Python gives them."""
    vectors = np.array(
        [entry.embedding for entry in client.embeddings.create(model=embedder, input=TEXTS).data]
    )
    assert len({vector.tobytes() for vector in vectors}) == len(TEXTS)
    return vectors


@pytest.fixture(scope="module")
def heard(guest: Guest, embedder: str) -> dict[str, Any]:
    """What the others got, by their names."""
    given = {"EMBEDDING_MODEL": embedder, "TEXTS": json.dumps(TEXTS)}
    return guest.python("ask_embeddings.py", given) | guest.node("embeddings.mjs", given)


@pytest.mark.honours("embeddings", "input", "encoding_format")
@pytest.mark.parametrize("name", ["langchain", "litellm", "node", "nodeFloats", "compatible", "official"])
def test_the_vectors_are_the_same_with_every_client(heard: dict[str, Any], wanted: Any, name: str) -> None:
    assert np.allclose(heard[name], wanted, atol=1e-6)


@pytest.mark.parametrize("name", ["langchain_query", "single"])
def test_one_text_alone_has_the_same_vector(heard: dict[str, Any], wanted: Any, name: str) -> None:
    assert np.allclose(heard[name], wanted[0], atol=1e-4)  # another batch


def test_tokens_are_counted(heard: dict[str, Any], client: openai.OpenAI, embedder: str) -> None:
    usage = client.embeddings.create(model=embedder, input=TEXTS).usage
    assert heard["litellm_tokens"] == usage.prompt_tokens > heard["tokens"] > 3
