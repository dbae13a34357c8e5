"""An embedding model in a worker of its own beside the stack's chat model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.contract.client_environments import Address, ClientRunner
from tests.embedder import embedding_worker
from tests.recording_proxy import recording_proxy
from tests.stack.conftest import OwnedStack


@pytest.fixture(scope="package")
def embedder(stack: OwnedStack, thinking_model: Path) -> Iterator[str]:
    """The name of an embedding model whose tokenizer puts a token before every text."""
    with embedding_worker(stack, thinking_model) as model:
        yield model


@pytest.fixture(scope="package")
def client(stack: OwnedStack) -> Iterator[openai.OpenAI]:
    """The SDK for Python."""
    with openai.OpenAI(base_url=f"{stack.base_url}/v1", api_key=stack.key, max_retries=0) as client:
        yield client


@pytest.fixture(scope="package")
def client_runner(stack: OwnedStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClientRunner]:
    """Runs other people's clients against the stack. What they receive is validated."""
    with recording_proxy(stack.base_url) as base_url:
        address = Address(base_url, stack.key, stack.model)
        yield ClientRunner(address, tmp_path_factory.mktemp("client_runner"), idle_model="")
