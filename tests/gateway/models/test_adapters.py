"""Fine-tuned models: served by workers of their base model, to their tenant alone, until they are deleted."""

from __future__ import annotations

import asyncio
import io
import threading
import uuid
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from api.gateway.app import Gateway
from inference_worker.protocol.faults import AdapterFault
from inference_worker.protocol.messages import AdapterRef, FailureKind, Operation
from inference_worker.registry import adapter_urls, archives
from inference_worker.registry.adapter_services import NewAdapter, adapter_delete, adapter_register
from inference_worker.registry.adapter_urls import AdapterUrls
from inference_worker.registry.models import Adapter, ServedModel
from inference_worker.registry.services import model_register, model_remove, model_update
from tests.gateway.conftest import Keys
from tests.gateway.harness.calls import BODIES, CHAT, COMPLETIONS
from tests.gateway.harness.conditions import eventually
from tests.gateway.harness.driver import Reply, call
from tests.gateway.harness.records import RecordReader
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.scripts import chat_script, failed
from tests.gateway.harness.threads import in_thread

NAME, OTHER = "ft:tiny:acme:bot:1", "ft:tiny:acme::2"
SHA256, ARCHIVE = "ab" * 32, b"an archive" * 1000


def new_adapter(keys: Keys, name: str = NAME, **changes: Any) -> NewAdapter:
    values = {
        "name": name,
        "base": "tiny",
        "sha256": SHA256,
        "rank": 8,
        "size_bytes": len(ARCHIVE),
        "tenant_id": keys.acme_id,
        "owned_by": "acme",
        "job_id": "ftjob-1",
        **changes,
    }
    return NewAdapter(**values)


async def register(keys: Keys, name: str = NAME, **changes: Any) -> None:
    def store_and_register() -> None:
        archives.archive_save(SHA256, io.BytesIO(ARCHIVE))
        adapter_register(new_adapter(keys, name, **changes), actor="tests")

    await in_thread(store_and_register)


async def models(gateway: Gateway, key: str) -> list[str]:
    reply = await call(gateway, "GET", "/v1/models", key=key)
    return [model["id"] for model in reply.document["data"]]


async def until_listed(gateway: Gateway, keys: Keys, *names: str) -> None:
    async def is_listed() -> bool:
        return set(names) <= set(await models(gateway, keys.acme))

    await eventually(is_listed)


async def chat(gateway: Gateway, key: str, model: str = NAME) -> Reply:
    body = {**BODIES[CHAT], "model": model, "stream": True}
    return await call(gateway, "POST", CHAT, key=key, body=body)


@pytest.mark.criterion("1.5")
async def test_a_worker_of_the_base_model_gets_the_request_with_the_adapter(
    gateway: Gateway, keys: Keys, client: ScriptedClient, settled_record: RecordReader
) -> None:
    await register(keys)
    await until_listed(gateway, keys, NAME)
    client.scripts = [chat_script()]
    assert (await chat(gateway, keys.acme)).status == 200
    (engine_call,) = client.calls
    assert engine_call.model == NAME
    assert engine_call.adapter is not None
    assert (engine_call.adapter.name, engine_call.adapter.base_model) == (NAME, "tiny")
    assert (engine_call.adapter.sha256, engine_call.adapter.rank, engine_call.adapter.url) == (SHA256, 8, "")
    assert engine_call.is_metered
    assert (await settled_record(CHAT)).model == NAME


@pytest.mark.criterion("1.5")
@pytest.mark.criterion("1.10")
@pytest.mark.criterion("6.2")
@pytest.mark.case("serving.36")
async def test_an_adapter_is_listed_for_its_tenant_while_a_worker_can_load_it(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    await register(keys)
    await until_listed(gateway, keys, NAME)
    model_document = (await call(gateway, "GET", f"/v1/models/{NAME}", key=keys.acme)).document
    assert (model_document["id"], model_document["root"], model_document["owned_by"]) == (
        NAME,
        "tiny",
        "acme",
    )
    assert model_document["max_model_len"] == client.max_model_len

    assert await models(gateway, keys.globex) == ["tiny"]
    for reply in (await chat(gateway, keys.globex), await chat(gateway, keys.globex, "ft:none")):
        assert (reply.status, reply.error["code"]) == (404, "model_not_found")

    client.max_lora_rank = 4  # below the adapter's
    assert await models(gateway, keys.acme) == ["tiny"]
    refusal = await chat(gateway, keys.acme)
    assert (refusal.status, refusal.error["code"]) == (503, "no_worker_available")
    client.max_lora_rank, client.models = 16, ("org/private",)
    assert await models(gateway, keys.acme) == ["org/private"]
    assert client.calls == []


async def test_an_adapter_of_a_disabled_base_model_is_unknown(gateway: Gateway, keys: Keys) -> None:
    await register(keys)
    await until_listed(gateway, keys, NAME)
    await in_thread(lambda: model_update(name="tiny", actor="tests", enabled=False))

    async def is_unknown() -> bool:
        return (await chat(gateway, keys.acme)).status == 404

    await eventually(is_unknown)


@pytest.mark.criterion("1.5")
async def test_a_deleted_adapter_is_gone_with_its_archive_and_workers_are_told(
    gateway: Gateway, keys: Keys, redis_client: Any
) -> None:
    await register(keys)
    await register(keys, OTHER)
    await until_listed(gateway, keys, NAME, OTHER)
    with redis_client.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.subscribe("cyllm:changes")
        pubsub.get_message(timeout=5)
        reply = await call(gateway, "DELETE", f"/v1/models/{NAME}", key=keys.acme)
        assert reply.document == {"id": NAME, "object": "model", "deleted": True}
        assert await in_thread(lambda: archives.archive_exists(SHA256)), "another adapter has the weights"
        await call(gateway, "DELETE", f"/v1/models/{OTHER}", key=keys.acme)
        assert not await in_thread(lambda: archives.archive_exists(SHA256))
        engine_call = [pubsub.get_message(timeout=2) for _ in range(3)]
    assert [message["data"] for message in engine_call if message] == [
        b"models",
        b"models",
        f"adapter {SHA256}".encode(),
    ]

    async def is_gone() -> bool:
        return NAME not in await models(gateway, keys.acme)

    await eventually(is_gone)
    assert (await chat(gateway, keys.acme)).status == 404
    again = await call(gateway, "DELETE", f"/v1/models/{NAME}", key=keys.acme)
    assert (again.status, again.error["code"]) == (404, "model_not_found")
    actions = await in_thread(_audited_actions)
    assert actions == ["adapter.create", "adapter.create", "adapter.delete", "adapter.delete"]


def _audited_actions() -> list[str]:
    from tenants.models import AdminAudit

    rows = AdminAudit.objects.filter(action__startswith="adapter.").order_by("id")
    return list(rows.values_list("action", flat=True))


async def test_only_adapters_of_the_tenant_can_be_deleted(gateway: Gateway, keys: Keys) -> None:
    await register(keys)
    await until_listed(gateway, keys, NAME)
    base = await call(gateway, "DELETE", "/v1/models/tiny", key=keys.acme)
    assert (base.status, base.error["code"]) == (403, "model_not_deletable")
    foreign = await call(gateway, "DELETE", f"/v1/models/{NAME}", key=keys.globex)
    assert (foreign.status, foreign.error["code"]) == (404, "model_not_found")
    reader = await call(gateway, "DELETE", f"/v1/models/{NAME}", key=keys.reader)
    assert (reader.status, reader.error["code"]) == (403, "insufficient_scope")
    assert await in_thread(Adapter.objects.count) == 1


async def test_a_granted_adapter_can_be_used_but_not_deleted(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    from inference_worker.registry.services import grant_set

    await register(keys)
    tenants = [uuid.UUID(keys.acme_id), uuid.UUID(keys.globex_id)]
    await in_thread(lambda: grant_set(name=NAME, tenant_ids=tenants, actor="tests"))
    await until_listed(gateway, keys, NAME)
    client.scripts = [chat_script()]
    assert (await chat(gateway, keys.globex)).status == 200
    refusal = await call(gateway, "DELETE", f"/v1/models/{NAME}", key=keys.globex)
    assert (refusal.status, refusal.error["code"]) == (403, "model_not_deletable")


async def test_an_adapter_that_no_worker_can_load_is_an_error_of_its_own(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    await register(keys)
    await until_listed(gateway, keys, NAME)
    fault = AdapterFault(reason="the archive's digest is wrong")
    client.scripts = [[failed(FailureKind.REFUSED, fault=fault)], chat_script()]
    assert (await chat(gateway, keys.acme)).status == 200, "another worker has it"
    assert [call.adapter is not None for call in client.calls] == [True, True]
    client.scripts = [[failed(FailureKind.ENGINE, fault=fault)]]
    reply = await chat(gateway, keys.acme)
    assert (reply.status, reply.error["code"]) == (503, "adapter_unavailable")
    assert "digest" not in reply.body.decode()


@pytest.mark.parametrize("operation", [Operation.COMPLETIONS, Operation.CHAT_COMPLETIONS])
async def test_tokens_of_an_adapter_are_counted_against_its_base_models_context(
    gateway: Gateway, keys: Keys, client: ScriptedClient, operation: Operation
) -> None:
    await register(keys)
    await until_listed(gateway, keys, NAME)
    client.max_model_len = 8
    body = {"model": NAME, "prompt": list(range(9))}
    reply = await call(gateway, "POST", COMPLETIONS, key=keys.acme, body=body)
    assert (reply.status, reply.error["code"]) == (400, "context_length_exceeded")


# ---- the registry ----


def test_a_base_model_with_adapters_is_kept(keys: Keys) -> None:
    from django.core.exceptions import ValidationError

    archives.archive_save(SHA256, io.BytesIO(ARCHIVE))
    adapter_register(new_adapter(keys), actor="tests")
    with pytest.raises(ValidationError, match=NAME):
        model_remove(name="tiny", actor="tests")
    with pytest.raises(ValidationError, match="is an adapter"):
        model_remove(name=NAME, actor="tests")
    assert adapter_delete(name=NAME, actor="tests")
    model_remove(name="tiny", actor="tests")


def test_a_registration_is_idempotent_for_the_same_weights_and_tenant_and_refused_for_others(
    keys: Keys,
) -> None:
    from django.core.exceptions import ValidationError

    archives.archive_save(SHA256, io.BytesIO(ARCHIVE))
    first = adapter_register(new_adapter(keys), actor="tests")
    assert adapter_register(new_adapter(keys), actor="tests").pk == first.pk
    with pytest.raises(ValidationError, match="taken"):
        adapter_register(new_adapter(keys, sha256="cd" * 32), actor="tests")
    with pytest.raises(ValidationError, match="taken"):
        adapter_register(new_adapter(keys, "default"), actor="tests")
    with pytest.raises(ValidationError, match="taken"):
        adapter_register(new_adapter(keys, tenant_id=keys.globex_id), actor="tests")


def test_an_adapter_needs_its_archive_and_its_base_model(keys: Keys) -> None:
    from inference_worker.registry.adapter_services import ArchiveMissingError

    with pytest.raises(ArchiveMissingError):
        adapter_register(new_adapter(keys, sha256="cd" * 32), actor="tests")
    with pytest.raises(ServedModel.DoesNotExist):
        adapter_register(new_adapter(keys, base="unknown"), actor="tests")
    model_register(name="other", actor="tests")
    assert not ServedModel.objects.filter(name=NAME).exists(), "nothing is left of a refused registration"


# ---- downloads by workers ----


def address(gateway: Gateway, sha256: str = SHA256) -> str:
    """Return path and query of a URL that the gateway signs."""
    secret = gateway.endpoints.artifacts.adapter_urls.secret
    ref = AdapterRef(name=NAME, base_model="tiny", sha256=sha256, rank=8)
    url = AdapterUrls("http://gateway:8000/", secret).with_url(ref).url
    assert url.startswith("http://gateway:8000/internal/artifacts/")
    return url.removeprefix("http://gateway:8000")


async def test_a_worker_downloads_an_adapter_by_a_signed_url(
    gateway: Gateway, keys: Keys, redis_client: Any
) -> None:
    await register(keys)
    reply = await call(gateway, "GET", address(gateway))
    assert (reply.status, reply.body) == (200, ARCHIVE)
    assert reply.headers["content-length"] == str(len(ARCHIVE))
    assert gateway.recorder.backlog == 0, "downloads by workers are no requests of a tenant"


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.replace("token=", "token=0"),
        lambda path: path.replace("expires=1", "expires=9"),
        lambda path: path.replace("ab" * 32, "cd" * 32),
        lambda path: path.replace("ab" * 32, "..%2f" * 4),
        lambda path: path.partition("?")[0],
        lambda path: path.replace("expires=", "expires=x"),
        lambda path: path.replace("token=", "token=%C3%A9"),
        lambda path: path.replace("token=", "token=%ED%A0%80"),
    ],
)
async def test_a_changed_address_is_the_404_of_an_unknown_url(
    gateway: Gateway, keys: Keys, change: Any
) -> None:
    await register(keys)
    path = change(address(gateway))
    reply = await call(gateway, "GET", path)
    unknown = await call(gateway, "GET", "/internal/nothing")
    assert (reply.status, reply.error["code"]) == (404, "unknown_url")
    assert (unknown.status, unknown.error["code"]) == (404, "unknown_url")


async def test_an_address_expires(gateway: Gateway, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    from inference_worker.registry import adapter_urls

    await register(keys)
    monkeypatch.setattr(adapter_urls, "LIFETIME_S", -1)
    assert (await call(gateway, "GET", address(gateway))).status == 404


async def test_addresses_of_a_process_with_the_old_secret_are_valid_while_it_is_known() -> None:
    ref = AdapterRef(name=NAME, base_model="tiny", sha256=SHA256, rank=8)
    url = AdapterUrls("http://gateway:8000", b"old").with_url(ref).url
    query = dict(parse_qsl(urlsplit(url).query))
    assert AdapterUrls("", b"new", (b"older", b"old")).is_valid(SHA256, **query)
    assert not AdapterUrls("", b"new", (b"older",)).is_valid(SHA256, **query)


async def test_an_archive_that_is_gone_is_not_found(gateway: Gateway, keys: Keys) -> None:
    assert (await call(gateway, "GET", address(gateway, "ef" * 32))).status == 404


async def test_an_address_is_signed_outside_the_event_loop_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    signatures: list[tuple[str, bool]] = []

    def sign(sha256: str) -> str:
        signatures.append((sha256, threading.current_thread() is threading.main_thread()))
        if len(signatures) == 1:
            raise OSError("the service of the credentials does not answer")
        return f"https://bucket/{sha256}?signature={len(signatures)}"

    monkeypatch.setattr(adapter_urls, "archive_url", sign)
    monkeypatch.setattr(adapter_urls, "MAX_CACHED_URLS", 2)
    urls = AdapterUrls("", b"secret")
    refs = [AdapterRef(name=f"ft:{digit}", base_model="tiny", sha256=digit * 64, rank=8) for digit in "aabc"]
    with pytest.raises(OSError, match="credentials"):
        await urls.with_cached_url(refs[0])
    first, second = await asyncio.gather(*map(urls.with_cached_url, refs[:2]))
    assert first.url == second.url == f"https://bucket/{'a' * 64}?signature=2"
    assert (first.name, first.sha256) == (refs[0].name, refs[0].sha256)
    assert await urls.with_cached_url(refs[0]) == first
    assert signatures == [("a" * 64, False)] * 2
    for ref in refs[2:]:
        await urls.with_cached_url(ref)
    await urls.with_cached_url(refs[0])
    assert len(signatures) == 5, "the oldest gave way"
    monkeypatch.setattr(adapter_urls, "REUSE_S", -1.0)
    for _ in range(2):
        await urls.with_cached_url(refs[2])
    assert len(signatures) == 7, "an old one is signed again"


async def test_without_an_address_a_request_for_an_adapter_can_be_tried_again(
    gateway: Gateway, keys: Keys, client: ScriptedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sign(sha256: str) -> str:
        raise OSError("the service of the credentials does not answer")

    client.scripts = [chat_script()]
    body = {**BODIES[CHAT], "model": NAME}
    await register(keys)
    await until_listed(gateway, keys, NAME)
    monkeypatch.setattr(adapter_urls, "archive_url", sign)
    reply = await call(gateway, "POST", CHAT, key=keys.acme, body=body)
    assert (reply.status, reply.error["code"]) == (503, "file_storage_unavailable")
    monkeypatch.undo()
    reply = await call(gateway, "POST", CHAT, key=keys.acme, body=body)
    assert reply.status == 200
