"""Deletions in a storage that does not answer delay no other request, and no change of the registry."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Awaitable, Callable, Iterator

import pytest
from django.core.files.storage import default_storage

from api.gateway.app import Gateway
from inference_worker.registry import archives
from inference_worker.registry.adapter_services import (
    ArchiveMissingError,
    adapter_register,
    archive_delete_if_unused,
)
from inference_worker.registry.services import model_register
from tests.gateway.conftest import Keys
from tests.gateway.harness.conditions import eventually
from tests.gateway.harness.driver import Reply, call
from tests.gateway.harness.threads import in_thread
from tests.gateway.harness.uploads import FILES, upload
from tests.gateway.models.test_adapters import new_adapter, until_listed

COUNT = 6  # more than the gateway has threads for each database
DIGEST = "ef" * 32
START_S = 20.0
LIMIT_S = 8.0  # a call of the database has 5 s


class SlowDeletions:
    """Deletions wait until ``release``."""

    def __init__(self) -> None:
        self.waiting = 0
        self._release = threading.Event()
        self._delete: Callable[[str], None] = default_storage.delete

    def release(self) -> None:
        self._release.set()

    def delete(self, name: str) -> None:
        self.waiting += 1
        assert self._release.wait(60)
        self._delete(name)

    async def have_begun(self) -> bool:
        return self.waiting > 0


@pytest.fixture
def slow(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowDeletions]:
    slow = SlowDeletions()
    monkeypatch.setattr(default_storage, "delete", slow.delete)
    yield slow
    slow.release()


async def start(slow: SlowDeletions, calls: list[Awaitable[Reply]]) -> asyncio.Future[list[Reply]]:
    """Start the deletions, and return when each of them waits for the storage or for its turn."""
    replies = asyncio.gather(*calls)
    await eventually(slow.have_begun, START_S)
    await asyncio.sleep(0.5)
    return replies


async def test_while_files_are_deleted_their_tenant_lists_them_and_new_keys_are_looked_up(
    gateway: Gateway, keys: Keys, slow: SlowDeletions
) -> None:
    ids = [(await upload(gateway, keys.acme)).document["id"] for _ in range(COUNT)]
    calls: list[Awaitable[Reply]] = [
        call(gateway, "DELETE", f"{FILES}/{each}", key=keys.acme) for each in ids
    ]
    replies = await start(slow, calls)
    async with asyncio.timeout(LIMIT_S):
        listing = await call(gateway, "GET", FILES, key=keys.acme)
        other = await call(gateway, "GET", FILES, key=keys.globex)
    assert (listing.status, other.status) == (200, 200)
    assert not replies.done()
    slow.release()
    assert [reply.status for reply in await replies] == [200] * COUNT


async def test_while_archives_are_deleted_models_can_change_and_new_keys_are_looked_up(
    gateway: Gateway, keys: Keys, slow: SlowDeletions
) -> None:
    def register(number: int) -> str:
        name, sha256 = f"ft:tiny:acme::{number}", f"{number:064x}"
        archives.archive_save(sha256, io.BytesIO(b"an archive"))
        adapter_register(new_adapter(keys, name, sha256=sha256), actor="tests")
        return name

    names = await in_thread(lambda: [register(number) for number in range(COUNT)])
    await until_listed(gateway, keys, *names)
    calls: list[Awaitable[Reply]] = [
        call(gateway, "DELETE", f"/v1/models/{name}", key=keys.acme) for name in names
    ]
    replies = await start(slow, calls)
    async with asyncio.timeout(LIMIT_S):
        await in_thread(lambda: model_register(name="another", actor="tests"))
        reply = await call(gateway, "GET", "/v1/models", key=keys.globex)
    assert reply.status == 200
    assert not replies.done()
    slow.release()
    assert [reply.status for reply in await replies] == [200] * COUNT
    assert not any(map(archives.archive_exists, (f"{number:064x}" for number in range(COUNT))))


async def test_an_adapter_is_not_registered_while_its_archive_is_deleted(
    keys: Keys, slow: SlowDeletions
) -> None:
    def register() -> None:
        adapter_register(new_adapter(keys, sha256=DIGEST), actor="tests")

    await in_thread(lambda: archives.archive_save(DIGEST, io.BytesIO(b"an archive")))
    removal = asyncio.create_task(in_thread(lambda: archive_delete_if_unused(DIGEST)))
    await eventually(slow.have_begun, START_S)
    registration = asyncio.create_task(in_thread(register))
    await asyncio.sleep(0.3)
    assert not registration.done()
    slow.release()
    assert await removal
    with pytest.raises(ArchiveMissingError):
        await registration
