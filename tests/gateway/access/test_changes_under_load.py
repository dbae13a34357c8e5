"""Revocation, rotation and new limits take effect on four gateways within a second, under load."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest

from api.gateway.settings import Limits
from tests.gateway.conftest import LONG_LIMITS, Keys
from tests.gateway.harness.calls import chat
from tests.gateway.harness.conditions import eventually
from tests.gateway.harness.gateways import running_gateway
from tests.gateway.harness.quota_setup import another_key, key_id_of, limit_key, limit_tenant
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.scripts import body_script
from tests.gateway.harness.threads import in_thread
from tests.promises import assert_within, measured_again

if TYPE_CHECKING:  # conftest.py is imported before Django is set up
    from api.gateway.app import Gateway

pytestmark = pytest.mark.usefixtures("quick_rebuilds")
GATEWAYS, CALLERS = 4, 8
ANSWERS = 20_000  # more than the load can use


def _revoke(key: str) -> None:
    from tenants.keys.services import key_revoke

    key_revoke(key_id=key_id_of(key), actor="tests")


def _rotate(key: str) -> None:
    from tenants.keys.services import key_rotate

    key_rotate(key_id=key_id_of(key), grace_s=0, actor="tests")


Change = tuple[Callable[[str], None], tuple[int, str]]
CHANGES: dict[str, Change] = {
    "revocation": (_revoke, (401, "key_revoked")),
    "rotation": (_rotate, (401, "key_expired")),
    "limit": (partial(limit_key, requests_per_minute=0), (429, "rate_limit_exceeded")),
}


@asynccontextmanager
async def _load(gateways: list[Gateway], key: str, statuses: list[int]) -> AsyncIterator[None]:
    """Send chats with a key to all gateways, one after another by each caller."""

    async def send(number: int) -> None:
        for gateway in itertools.cycle(gateways[number % GATEWAYS :] + gateways[: number % GATEWAYS]):
            statuses.append((await chat(gateway, key)).status)

    tasks = [asyncio.create_task(send(number)) for number in range(CALLERS)]
    yield
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.mark.criterion("6.1", "6.3")
@pytest.mark.case("serving.16")
@pytest.mark.parametrize("change", CHANGES)
@measured_again
async def test_a_change_takes_effect_on_every_gateway_within_a_second_under_load(
    keys: Keys, redis_url: str, change: str
) -> None:
    apply, refusal = CHANGES[change]
    key = await in_thread(partial(another_key, keys.acme_id))
    await in_thread(partial(limit_tenant, keys.globex_id, requests_per_minute=1_000_000))
    limits: Limits = LONG_LIMITS.model_copy(update={"gateway_max_requests": 128})
    statuses: list[int] = []
    async with AsyncExitStack() as stack:
        gateways = []
        for _ in range(GATEWAYS):
            client = ScriptedClient()
            client.scripts = [body_script() for _ in range(ANSWERS)]
            gateways.append(await stack.enter_async_context(running_gateway(redis_url, client, limits)))
        for one in gateways:
            await eventually(lambda one=one: one.recorder.facts.is_up)  # type: ignore[misc]
            assert (await chat(one, key)).status == 200, "the key is in this gateway's cache"
        async with _load(gateways, keys.globex, statuses):
            await eventually(lambda: len(statuses) > 2 * CALLERS)
            await in_thread(partial(apply, key))
            changed_at = asyncio.get_running_loop().time()
            for one in gateways:

                async def is_refused(one: Gateway = one) -> bool:
                    reply = await chat(one, key)
                    return reply.status != 200 and (reply.status, reply.error["code"]) == refusal

                await eventually(is_refused)
            refused_s = asyncio.get_running_loop().time() - changed_at
    assert set(statuses) == {200}, "the load is not affected"
    assert_within(refused_s, 1)
