"""The worker's cache of adapters: verified, shared by concurrent requests and processes, bounded in size."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from inference_worker.protocol.adapter_archive import folder_digest, pack
from inference_worker.protocol.messages import AdapterRef
from inference_worker.runtime.adapters.errors import AdapterUnavailableError
from inference_worker.runtime.adapters.store import PARTIAL_PREFIX, STALE_S, AdapterStore, StoreLimits
from tests.patience import PATIENCE_S
from tests.runtime.adapters.test_adapter_archive import adapter, packed

LIMITS = StoreLimits(archive_bytes=100_000, cache_bytes=1_000_000, download_s=2.0)


class ArchiveServer(ThreadingHTTPServer):
    """Serves archives by digest, and counts the requests. ``delay_s`` is between two halves of an archive."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.archives: dict[str, bytes] = {}
        self.requests = 0
        self.delay_s = 0.0
        self.status = 200

    def url(self, sha256: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/internal/{sha256}?token=secret"


class _Handler(BaseHTTPRequestHandler):
    server: ArchiveServer

    def do_GET(self) -> None:
        self.server.requests += 1
        data = self.server.archives[self.path.rpartition("/")[2].partition("?")[0]]
        self.send_response(self.server.status)
        if self.server.status == 302:
            self.send_header("location", "file:///etc/passwd")
        self.end_headers()
        half = len(data) // 2
        self.wfile.write(data[:half])
        self.wfile.flush()
        time.sleep(self.server.delay_s)
        self.wfile.write(data[half:])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ArchiveServer]:
    server = ArchiveServer()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def shared_folder(tmp_path: Path) -> Path:
    (tmp_path / "shared").mkdir()
    return tmp_path / "shared"


@pytest.fixture
def store(tmp_path: Path, shared_folder: Path) -> AdapterStore:
    return AdapterStore(tmp_path / "cache", shared_folder, LIMITS)


def ref_of(folder: Path, url: str = "") -> AdapterRef:
    return AdapterRef(name="ft:m:t::1", base_model="m", sha256=folder_digest(folder), rank=8, url=url)


def share(folder: Path, shared_folder: Path) -> AdapterRef:
    ref = ref_of(folder)
    with (shared_folder / ref.sha256).open("wb") as target:
        pack(folder, target)
    return ref


def serve(folder: Path, server: ArchiveServer) -> AdapterRef:
    sha256 = folder_digest(folder)
    server.archives[sha256] = packed(folder)
    return ref_of(folder, server.url(sha256))


def cached(store: AdapterStore) -> set[str]:
    return {entry.name for entry in store._folder.iterdir()}


async def test_an_adapter_is_taken_from_the_shared_folder_once(
    store: AdapterStore, shared_folder: Path, tmp_path: Path
) -> None:
    ref = share(adapter(tmp_path / "a"), shared_folder)
    folder = await store.fetch(ref)
    assert folder_digest(folder) == ref.sha256
    assert folder.name == ref.sha256
    (shared_folder / ref.sha256).unlink()
    assert await store.fetch(ref) == folder
    assert cached(store) == {ref.sha256}, "nothing else is left"


async def test_concurrent_requests_share_one_download(
    store: AdapterStore, server: ArchiveServer, tmp_path: Path
) -> None:
    ref = serve(adapter(tmp_path / "a"), server)
    server.delay_s = 0.2
    folders = await asyncio.gather(*(store.fetch(ref) for _ in range(20)))
    assert len(set(folders)) == 1
    assert server.requests == 1


async def test_a_request_that_is_cancelled_does_not_end_the_download_of_others(
    store: AdapterStore, server: ArchiveServer, tmp_path: Path
) -> None:
    ref = serve(adapter(tmp_path / "a"), server)
    server.delay_s = 0.3
    first, second = asyncio.create_task(store.fetch(ref)), asyncio.create_task(store.fetch(ref))
    await asyncio.sleep(0.1)
    first.cancel()
    assert folder_digest(await second) == ref.sha256
    assert server.requests == 1


async def test_workers_that_share_a_cache_fetch_the_same_adapter_at_the_same_time(
    shared_folder: Path, tmp_path: Path
) -> None:
    ref = share(adapter(tmp_path / "a", weights=os.urandom(90_000)), shared_folder)
    stores = [AdapterStore(tmp_path / "cache", shared_folder, LIMITS) for _ in range(8)]
    folders = await asyncio.gather(*(store.fetch(ref) for store in stores))
    assert {folder_digest(folder) for folder in folders} == {ref.sha256}
    assert cached(stores[0]) == {ref.sha256}


async def test_another_archive_than_the_digests_is_refused_and_not_kept(
    store: AdapterStore, server: ArchiveServer, tmp_path: Path
) -> None:
    ref = serve(adapter(tmp_path / "a"), server)
    server.archives[ref.sha256] = packed(adapter(tmp_path / "b", weights=b"others"))
    with pytest.raises(AdapterUnavailableError, match="digest"):
        await store.fetch(ref)
    assert cached(store) == set()
    server.archives[ref.sha256] = packed(adapter(tmp_path / "a"))
    assert folder_digest(await store.fetch(ref)) == ref.sha256, "a later request gets the right one"


async def test_a_damaged_adapter_in_the_cache_is_fetched_again(
    store: AdapterStore, shared_folder: Path, tmp_path: Path
) -> None:
    ref = share(adapter(tmp_path / "a"), shared_folder)
    folder = await store.fetch(ref)
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\xff\xff")
    assert folder_digest(await store.fetch(ref)) == ref.sha256


@pytest.mark.parametrize("status", [302, 403, 404, 500])
async def test_an_address_that_does_not_answer_with_the_archive_is_an_error_without_its_signature(
    store: AdapterStore, server: ArchiveServer, tmp_path: Path, status: int
) -> None:
    ref = serve(adapter(tmp_path / "a"), server)
    server.status = status
    with pytest.raises(AdapterUnavailableError, match=f"status {status}") as excinfo:
        await store.fetch(ref)
    assert "secret" not in str(excinfo.value)


async def test_an_unreachable_address_is_an_error_without_its_signature(
    store: AdapterStore, server: ArchiveServer, tmp_path: Path
) -> None:
    ref = serve(adapter(tmp_path / "a"), server)
    unreachable = ref_of(tmp_path / "a", ref.url.replace(str(server.server_address[1]), "1"))
    with pytest.raises(AdapterUnavailableError, match="ConnectError") as excinfo:
        await store.fetch(unreachable)
    assert "secret" not in str(excinfo.value)


async def test_a_slow_download_ends_at_its_limit(
    shared_folder: Path, server: ArchiveServer, tmp_path: Path
) -> None:
    limits = StoreLimits(archive_bytes=100_000, cache_bytes=1_000_000, download_s=0.2)
    store = AdapterStore(tmp_path / "cache", shared_folder, limits)
    server.delay_s = 1.0
    with pytest.raises(AdapterUnavailableError, match=r"longer|ReadTimeout"):
        await store.fetch(serve(adapter(tmp_path / "a"), server))
    assert cached(store) == set()


async def test_an_archive_above_the_limit_is_refused_while_it_arrives(
    store: AdapterStore, server: ArchiveServer, tmp_path: Path
) -> None:
    ref = serve(adapter(tmp_path / "a", weights=bytes(200_000)), server)
    with pytest.raises(AdapterUnavailableError, match="more than 100000 bytes"):
        await store.fetch(ref)


@pytest.mark.parametrize("sha256", ["", "..", "../../etc", "A" * 64, "ab" * 31, "ab" * 32 + "/x"])
async def test_a_malformed_digest_reaches_no_file(store: AdapterStore, sha256: str) -> None:
    with pytest.raises(AdapterUnavailableError, match="malformed"):
        await store.fetch(AdapterRef(name="n", base_model="m", sha256=sha256, rank=8))
    await store.remove(sha256)


async def test_without_an_address_and_a_shared_folder_the_error_names_the_setting(tmp_path: Path) -> None:
    store = AdapterStore(tmp_path / "cache", None, LIMITS)
    with pytest.raises(AdapterUnavailableError, match="CYLLM_WORKER_ARTIFACT_DIR"):
        await store.fetch(ref_of(adapter(tmp_path / "a")))


async def test_the_least_recently_fetched_adapters_give_way(shared_folder: Path, tmp_path: Path) -> None:
    limits = StoreLimits(archive_bytes=100_000, cache_bytes=70_000, download_s=2.0)
    store = AdapterStore(tmp_path / "cache", shared_folder, limits)
    refs = [share(adapter(tmp_path / str(n), weights=bytes([n]) * 30_000), shared_folder) for n in range(3)]
    for age, ref in enumerate(refs[:2]):
        folder = await store.fetch(ref)
        os.utime(folder, (1000 + age, 1000 + age))
    await store.fetch(refs[0])  # used again
    await store.fetch(refs[2])
    assert cached(store) == {refs[0].sha256, refs[2].sha256}


async def test_what_a_killed_worker_left_behind_is_removed(
    store: AdapterStore, shared_folder: Path, tmp_path: Path
) -> None:
    for name, age_s in (("old", STALE_S + 60), ("new", 10)):
        folder = tmp_path / "cache" / f"{PARTIAL_PREFIX}{name}"
        folder.mkdir(parents=True)
        os.utime(folder, (time.time() - age_s,) * 2)
    ref = share(adapter(tmp_path / "a"), shared_folder)
    await store.fetch(ref)
    assert cached(store) == {ref.sha256, f"{PARTIAL_PREFIX}new"}


async def test_what_others_remove_meanwhile_does_not_fail_a_fetch(
    store: AdapterStore, shared_folder: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    (cache / ("cd" * 32)).mkdir(parents=True)
    # Names without a file, as a listing has them when their file is removed after it.
    for name in (f"{PARTIAL_PREFIX}gone", "ab" * 32, f"{'cd' * 32}/adapter_model.safetensors"):
        (cache / name).symlink_to(tmp_path / "nothing")
    ref = share(adapter(tmp_path / "a"), shared_folder)
    assert folder_digest(await store.fetch(ref)) == ref.sha256


async def test_a_removed_adapter_is_fetched_anew(
    store: AdapterStore, shared_folder: Path, tmp_path: Path
) -> None:
    ref = share(adapter(tmp_path / "a"), shared_folder)
    await store.fetch(ref)
    await store.remove(ref.sha256)
    assert cached(store) == set()
    (shared_folder / ref.sha256).unlink()
    with pytest.raises(AdapterUnavailableError, match="No such file"):
        await store.fetch(ref)


async def test_a_removal_leaves_the_event_loop_to_others(
    store: AdapterStore, shared_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = share(adapter(tmp_path / "a"), shared_folder)
    await store.fetch(ref)
    is_released = threading.Event()
    delete = shutil.rmtree

    def slow_delete(folder: Path, **options: Any) -> None:
        assert is_released.wait(PATIENCE_S), "the event loop goes on"
        delete(folder, **options)

    monkeypatch.setattr(shutil, "rmtree", slow_delete)
    removal = asyncio.create_task(store.remove(ref.sha256))
    await asyncio.sleep(0)
    is_released.set()
    await removal
    assert cached(store) == set()
