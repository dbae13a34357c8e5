"""Networks, organization headers and read-only scopes of keys."""

from __future__ import annotations

from typing import Any

import pytest

from api.gateway.app import Gateway
from api.gateway.http.client_ip import client_ip
from api.gateway.urls.table import URLS
from inference_worker.protocol.messages import Outcome
from tenants.keys.services import key_update
from tenants.models import ApiKey
from tests.gateway.conftest import Keys
from tests.gateway.harness.calls import CHAT, chat
from tests.gateway.harness.conditions import apply_change
from tests.gateway.harness.driver import call
from tests.gateway.harness.records import RecordReader
from tests.gateway.harness.uploads import upload

ACTIONS = ("cancel", "pause", "resume")


async def change(gateway: Gateway, key: str, **changes: Any) -> None:
    """Change a key through the service, and wait until the gateway knows it."""

    def run() -> None:
        key_update(key_id=ApiKey.objects.get(prefix=key.split("-")[2]).id, actor="tests", **changes)

    await apply_change(gateway, key, run)


@pytest.mark.criterion("6.1")
async def test_a_key_is_refused_outside_its_networks_and_the_refusal_is_recorded(
    gateway: Gateway, keys: Keys, settled_record: RecordReader
) -> None:
    await change(gateway, keys.acme, allowed_networks=["203.0.113.0/24"])
    reply = await chat(gateway, keys.acme)
    assert (reply.status, reply.error["code"]) == (403, "ip_not_allowed")
    assert "192.0.2." in reply.error["message"]
    record = await settled_record()
    assert (record.status, record.outcome, record.error_code) == (403, Outcome.REFUSED, "ip_not_allowed")
    assert record.tenant_id == keys.acme_id
    await change(gateway, keys.globex, allowed_networks=["192.0.2.0/24"])
    assert (await call(gateway, "GET", "/v1/models", key=keys.globex)).status == 200


async def test_the_address_of_a_proxied_client_counts_not_its_own_claim(gateway: Gateway, keys: Keys) -> None:
    await change(gateway, keys.acme, allowed_networks=["203.0.113.0/24"])
    headers = {"authorization": f"Bearer {keys.acme}", "x-forwarded-for": "203.0.113.7"}
    reply = await call(gateway, "GET", "/v1/models", headers=headers)
    assert reply.error["code"] == "ip_not_allowed"


@pytest.mark.parametrize(
    ("forwarded_for", "address"),
    [
        ("198.51.100.1, 203.0.113.7", "203.0.113.7"),
        ("203.0.113.7:4711", "203.0.113.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("[::ffff:203.0.113.7]:4711", "203.0.113.7"),
        ("unknown", ""),
        ("[]:1", ""),
        (":4711", ""),
        ("203.0.113.7:x", ""),
        ("203.0.113.7:123456", ""),
    ],
)
def test_proxies_may_append_the_port_of_the_client(forwarded_for: str, address: str) -> None:
    assert client_ip("192.0.2.1", forwarded_for, trusted_proxies=1) == address


@pytest.mark.criterion("6.2")
@pytest.mark.parametrize(
    ("header", "code"),
    [("openai-organization", "mismatched_organization"), ("openai-project", "mismatched_project")],
)
async def test_the_organization_and_project_of_a_client_must_be_the_keys_tenant(
    gateway: Gateway, keys: Keys, header: str, code: str
) -> None:
    async def status(value: str) -> tuple[int, str | None]:
        headers = {"authorization": f"Bearer {keys.acme}", header: value}
        reply = await call(gateway, "GET", "/v1/models", headers=headers)
        return reply.status, None if reply.status == 200 else reply.error["code"]

    for name in ("acme", keys.acme_id, "", " acme "):
        assert await status(name) == (200, None)
    for name in ("globex", keys.globex_id, "org-123", "acme, acme"):
        assert await status(name) == (401, code)


def test_no_route_that_changes_something_accepts_a_scope_to_read() -> None:
    routes = [route for route in URLS.routes if route.method not in ("GET", "HEAD")]
    assert len(routes) > 10
    assert not [route for route in routes if any(scope.endswith(".read") for scope in route.scopes)]


async def test_scopes_to_read_allow_no_change(gateway: Gateway, keys: Keys) -> None:
    file_id = (await upload(gateway, keys.acme)).document["id"]
    await change(gateway, keys.acme, scopes=["files.read", "fine_tuning.read"])
    for path in ("/v1/files", f"/v1/files/{file_id}", f"/v1/files/{file_id}/content"):
        assert (await call(gateway, "GET", path, key=keys.acme)).status == 200
    assert (await call(gateway, "GET", "/v1/fine_tuning/jobs", key=keys.acme)).status == 200
    body = {"model": "tiny", "training_file": file_id}
    for method, path, scope in (
        ("DELETE", f"/v1/files/{file_id}", "files"),
        ("POST", "/v1/fine_tuning/jobs", "fine_tuning"),
        *(("POST", f"/v1/fine_tuning/jobs/ftjob-x/{action}", "fine_tuning") for action in ACTIONS),
        ("POST", "/v1/fine_tuning/jobs/ftjob-x/checkpoints/ftckpt_x/publish", "fine_tuning"),
        ("POST", CHAT, "inference"),
    ):
        reply = await call(gateway, method, path, key=keys.acme, body=body if method == "POST" else None)
        assert (reply.status, reply.error["code"]) == (403, "insufficient_scope")
        assert f"'{scope}'" in reply.error["message"]
    await change(gateway, keys.acme, scopes=["models.read"])
    reply = await call(gateway, "GET", "/v1/files", key=keys.acme)
    assert "'files.read'" in reply.error["message"]
