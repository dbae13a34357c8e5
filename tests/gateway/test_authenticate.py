"""Keys: each fault has its own code, a change is heard at once, and an unreachable database is no 401."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import redis

from api.gateway.app import Gateway
from inference_worker.protocol import names
from inference_worker.protocol.messages import Outcome
from tests.gateway.conftest import Keys
from tests.gateway.driver import call, chat
from tests.gateway.scripted import ScriptedClient, finished


def _wrong_secret(key: str) -> str:
    return key[:-1] + ("A" if key[-1] != "A" else "B")


@pytest.mark.criterion("1.8")
async def test_each_fault_of_a_key_has_its_own_code(gateway: Gateway, keys: Keys) -> None:
    table: list[tuple[str | None, int, str]] = [
        (None, 401, "missing_api_key"),
        ("", 401, "missing_api_key"),
        ("Basic dXNlcjpwYXNz", 401, "invalid_authorization"),
        ("Bearer", 401, "invalid_authorization"),
        ("Bearer a b", 401, "invalid_authorization"),
        ("Bearer sk-proj-123", 401, "invalid_api_key"),
        (f"Bearer {keys.acme}x", 401, "invalid_api_key"),
        (f"Bearer {_wrong_secret(keys.acme)}", 401, "invalid_api_key"),
        ("Bearer sk-cy-" + "a" * 12 + "-" + "b" * 43, 401, "invalid_api_key"),
        ("Bearer \xff\xfe", 401, "invalid_api_key"),
        (f"Bearer {_wrong_secret(keys.revoked)}", 401, "invalid_api_key"),
        (f"Bearer {keys.revoked}", 401, "key_revoked"),
        (f"Bearer {keys.expired}", 401, "key_expired"),
        (f"Bearer {keys.inactive}", 403, "tenant_inactive"),
        (f"Bearer {keys.reader}", 403, "insufficient_scope"),
    ]
    for header, status, code in table:
        reply = await call(
            gateway, "POST", "/v1/chat/completions", body={}, headers={"authorization": header or ""}
        )
        assert (reply.status, reply.error["code"]) == (status, code), header and code
        assert ("www-authenticate" in reply.headers) == (status == 401)


@pytest.mark.criterion("1.8")
async def test_the_scheme_is_read_in_any_case(gateway: Gateway, keys: Keys) -> None:
    reply = await call(gateway, "GET", "/v1/models", headers={"authorization": f"bearer  {keys.acme}"})
    assert reply.status == 200


async def test_a_refused_key_leaves_a_record_without_the_secret(
    gateway: Gateway, keys: Keys, ended: Callable[[], Any], redis_client: redis.Redis
) -> None:
    wrong = _wrong_secret(keys.acme)
    await chat(gateway, wrong)
    record = await ended()
    assert (record.status, record.outcome, record.error_code) == (401, Outcome.REFUSED, "invalid_api_key")
    assert record.key_prefix == keys.acme.split("-")[2]
    assert (record.tenant_id, record.key_id) == (None, None)
    stored: Any = redis_client.xrange(names.FACTS_STREAM)
    assert wrong.split("-")[3].encode() not in stored[0][1][names.FACTS_FIELD]


@pytest.mark.criterion("6.1")
@pytest.mark.case("serving.16")
async def test_a_revoked_key_is_dead_within_a_second(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    from tenants.models import ApiKey
    from tenants.services import key_create, key_revoke
    from tests.gateway.threads import in_thread

    def make() -> tuple[Any, str]:
        tenant = ApiKey.objects.get(prefix=keys.acme.split("-")[2]).tenant
        return key_create(tenant=tenant, name="short", actor="tests")

    made, secret = await in_thread(make)
    client.scripts = [[finished(b"{}")]]
    assert (await chat(gateway, secret)).status == 200
    await in_thread(lambda: key_revoke(key_id=made.id, actor="tests"))
    await asyncio.sleep(0.3)
    reply = await chat(gateway, secret)
    assert (reply.status, reply.error["code"]) == (401, "key_revoked"), "pushed, long before it ages out"


async def test_scopes_for_models_are_reading_or_running(gateway: Gateway, keys: Keys) -> None:
    assert (await call(gateway, "GET", "/v1/models", key=keys.reader)).status == 200
    assert (await call(gateway, "GET", "/v1/models", key=keys.acme)).status == 200
