"""Embeddings with every client that supports them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import openai
import pytest

from tests.contract.client_environments import ClientRunner

TEXTS = ["The sea is calm.", "海は静かだ。", "Ça va 😀?"]


@pytest.fixture(scope="module")
def vectors(client: openai.OpenAI, embedder: str) -> Any:
    """The vectors that the SDK for Python receives."""
    vectors = np.array(
        [entry.embedding for entry in client.embeddings.create(model=embedder, input=TEXTS).data]
    )
    assert len({vector.tobytes() for vector in vectors}) == len(TEXTS)
    return vectors


@pytest.fixture(scope="module")
def results(client_runner: ClientRunner, embedder: str) -> dict[str, Any]:
    """Vectors and token counts of the other clients, by name."""
    variables = {"EMBEDDING_MODEL": embedder, "TEXTS": json.dumps(TEXTS)}
    return client_runner.python("ask_embeddings.py", variables) | client_runner.node(
        "embeddings.mjs", variables
    )


@pytest.mark.honours("embeddings", "input", "encoding_format")
@pytest.mark.parametrize("name", ["langchain", "litellm", "node", "nodeFloats", "compatible", "official"])
def test_vectors_are_the_same_with_every_client(results: dict[str, Any], vectors: Any, name: str) -> None:
    assert np.allclose(results[name], vectors, atol=1e-6)


@pytest.mark.parametrize("name", ["langchain_query", "single"])
def test_a_single_text_has_the_same_vector(results: dict[str, Any], vectors: Any, name: str) -> None:
    assert np.allclose(results[name], vectors[0], atol=1e-4)  # another batch


def test_tokens_are_counted(results: dict[str, Any], client: openai.OpenAI, embedder: str) -> None:
    usage = client.embeddings.create(model=embedder, input=TEXTS).usage
    assert results["litellm_tokens"] == usage.prompt_tokens > results["tokens"] > 3
