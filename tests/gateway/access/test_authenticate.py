"""Authentication: each fault of a key has its own code, and changes of keys take effect at once."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from api.gateway.app import Gateway
from api.gateway.settings import Limits
from inference_worker.protocol import names
from inference_worker.protocol.messages import Outcome
from tests.gateway.conftest import CACHING_LIMITS, Keys
from tests.gateway.harness.calls import CHAT, chat
from tests.gateway.harness.conditions import eventually
from tests.gateway.harness.driver import call
from tests.gateway.harness.records import RecordReader
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.scripts import body_script


@pytest.fixture
def limits() -> Limits:
    return CACHING_LIMITS


def _wrong_secret(key: str) -> str:
    return key[:-1] + ("A" if key[-1] != "A" else "B")


@pytest.mark.criterion("1.8")
async def test_each_fault_of_a_key_has_its_own_code(gateway: Gateway, keys: Keys) -> None:
    faults: list[tuple[str | None, int, str]] = [
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
        (f"Bearer {_wrong_secret(keys.revoked_key)}", 401, "invalid_api_key"),
        (f"Bearer {keys.revoked_key}", 401, "key_revoked"),
        (f"Bearer {keys.expired_key}", 401, "key_expired"),
        (f"Bearer {keys.inactive}", 403, "tenant_inactive"),
        (f"Bearer {keys.reader}", 403, "insufficient_scope"),
    ]
    for header, status, code in faults:
        reply = await call(gateway, "POST", CHAT, body={}, headers={"authorization": header or ""})
        assert (reply.status, reply.error["code"]) == (status, code), header and code
        assert ("www-authenticate" in reply.headers) == (status == 401)


@pytest.mark.criterion("1.8")
async def test_the_scheme_is_case_insensitive(gateway: Gateway, keys: Keys) -> None:
    reply = await call(gateway, "GET", "/v1/models", headers={"authorization": f"bearer  {keys.acme}"})
    assert reply.status == 200


@pytest.mark.case("serving.15")
async def test_the_record_of_a_rejected_key_does_not_contain_its_secret(
    gateway: Gateway, keys: Keys, settled_record: RecordReader, redis_client: redis.Redis
) -> None:
    wrong_key = _wrong_secret(keys.acme)
    await chat(gateway, wrong_key)
    record = await settled_record()
    assert (record.status, record.outcome, record.error_code) == (401, Outcome.REFUSED, "invalid_api_key")
    assert record.key_prefix == keys.acme.split("-")[2]
    assert (record.tenant_id, record.key_id) == (None, None)
    entries: Any = redis_client.xrange(names.FACTS_STREAM)
    assert wrong_key.split("-", 3)[3].encode() not in entries[0][1][names.FACTS_FIELD]


@pytest.mark.criterion("6.1")
@pytest.mark.case("serving.16")
async def test_a_revoked_key_is_rejected_although_it_is_cached(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    from tenants.keys.services import key_create, key_revoke
    from tenants.models import ApiKey
    from tests.gateway.harness.threads import in_thread

    def create() -> tuple[Any, str]:
        tenant = ApiKey.objects.get(prefix=keys.acme.split("-")[2]).tenant
        return key_create(tenant=tenant, name="short", actor="tests")

    key, secret = await in_thread(create)
    client.scripts = [body_script()]
    assert (await chat(gateway, secret)).status == 200
    await in_thread(lambda: key_revoke(key_id=key.id, actor="tests"))

    async def is_refused() -> bool:
        reply = await chat(gateway, secret)
        return (reply.status, reply.error["code"]) == (401, "key_revoked")

    await eventually(is_refused)


async def test_models_can_be_listed_with_a_key_that_may_read_or_use_them(
    gateway: Gateway, keys: Keys
) -> None:
    assert (await call(gateway, "GET", "/v1/models", key=keys.reader)).status == 200
    assert (await call(gateway, "GET", "/v1/models", key=keys.acme)).status == 200
