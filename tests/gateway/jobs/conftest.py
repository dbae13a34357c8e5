"""The official client of a gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import openai
import pytest_asyncio

from tests.gateway.conftest import Keys
from tests.site.harness.guarded import serve

if TYPE_CHECKING:  # pytest imports this module before Django is set up
    from api.gateway.app import Gateway


@pytest_asyncio.fixture
async def sdk(gateway: Gateway, keys: Keys) -> AsyncIterator[openai.AsyncOpenAI]:
    """The official client with the key of acme."""
    async with (
        serve(gateway) as (host, port, _),
        openai.AsyncOpenAI(base_url=f"http://{host}:{port}/v1", api_key=keys.acme, max_retries=0) as client,
    ):
        yield client
