"""One gateway with a scripted worker, behind the HTTP server that users run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
import redis
import uvicorn

from api.gateway.settings import Limits
from deploy.local.servers.ports import LOOPBACK
from tests.contract.client_environments import Address, ClientRunner
from tests.contract.round_trips.answering import THINKER, AnsweringClient
from tests.gateway.conftest import Keys
from tests.gateway.conftest import gateway as gateway
from tests.gateway.conftest import keys as keys
from tests.ports import reserved_port
from tests.recording_proxy import recording_proxy

if TYPE_CHECKING:
    from api.gateway.app import Gateway


@pytest.fixture
def client() -> AnsweringClient:
    """The gateway's engine client."""
    return AnsweringClient()


@pytest.fixture
def limits() -> Limits:
    """Limits that a busy machine doesn't reach."""
    return Limits(gateway_max_requests=64)


@pytest.fixture(params=["tiny", THINKER])
def model(request: pytest.FixtureRequest, keys: Keys) -> str:
    """A model that answers at once, and one that reasons before."""
    from inference_worker.registry.services import model_register

    model_register(name=THINKER, actor="tests")
    return str(request.param)


@asynccontextmanager
async def serving(gateway: Gateway) -> AsyncIterator[str]:
    """Serve the gateway over HTTP and yield the address."""
    from cyllm_site.http_guard.protocol import GuardedProtocol

    port = reserved_port()
    config = uvicorn.Config(
        gateway, host=LOOPBACK, port=port, http=GuardedProtocol, lifespan="off", ws="none", log_config=None
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield f"http://{LOOPBACK}:{port}"
    server.should_exit = True
    await task


@pytest_asyncio.fixture
async def client_runner(
    gateway: Gateway, redis_client: redis.Redis, keys: Keys, model: str, tmp_path: Path
) -> AsyncIterator[ClientRunner]:
    """Runs other people's clients against the gateway. What they receive is validated."""
    async with serving(gateway) as server:
        with recording_proxy(server) as base_url:
            yield ClientRunner(Address(base_url, keys.acme, model), tmp_path, "nobody-serves-this")
