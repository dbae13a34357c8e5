"""Large, slow and broken uploads over sockets: bounded memory, and nothing is left of those that fail."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx

from tests.files.conftest import Account, FileServer
from tests.gateway.harness.uploads import CONTENT_TYPE, END, field, file_part, form
from tests.patience import PATIENCE_S

MIB = 1024 * 1024
HEAD = field("purpose", "user_data") + file_part(b"", "large.bin")[:-2]
TAIL = b"\r\n" + END


def _post(
    server: FileServer, account: Account, body: Iterator[bytes] | bytes, **headers: str
) -> httpx.Response:
    fields = {"authorization": f"Bearer {account.key}", "content-type": CONTENT_TYPE, **headers}
    return httpx.post(
        f"{server.url}/v1/files", content=body, headers=fields, timeout=PATIENCE_S, trust_env=False
    )


def _connect(server: FileServer, account: Account, *headers: str) -> socket.socket:
    """Connect and send the head of an upload."""
    address = urlsplit(server.url)
    connection = socket.create_connection((address.hostname, address.port), timeout=PATIENCE_S)
    lines = ["POST /v1/files HTTP/1.1", "host: x", f"authorization: Bearer {account.key}"]
    head = "\r\n".join((*lines, f"content-type: {CONTENT_TYPE}", *headers, "", ""))
    connection.sendall(head.encode())
    return connection


def _reply(connection: socket.socket, text: bytes) -> bytes:
    """Return what the server sends up to ``text``, which must occur."""
    reply = b""
    while text not in reply:
        data = connection.recv(65536)
        assert data, reply
        reply += data
    return reply


def _wait_until_empty(server: FileServer) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while server.contents():
        assert time.monotonic() < deadline, server.contents()
        time.sleep(0.02)


def _rows() -> tuple[int, int]:
    from tenants.files.models import PendingObject, StoredFile

    return StoredFile.objects.count(), PendingObject.objects.count()


def _wait_until_nothing_is_left(server: FileServer) -> None:
    _wait_until_empty(server)
    deadline = time.monotonic() + PATIENCE_S
    while _rows() != (0, 0):
        assert time.monotonic() < deadline, _rows()
        time.sleep(0.02)


def test_an_upload_and_a_download_of_200_mib_need_little_memory(account: Account, server: FileServer) -> None:
    _post(server, account, form(b"warm up")).raise_for_status()
    block = bytes(range(256)) * 4096
    digest = hashlib.sha256()

    def body() -> Iterator[bytes]:
        yield HEAD
        for _ in range(200):
            digest.update(block)
            yield block
        yield TAIL

    before = server.reset_peak()
    new_file = _post(server, account, body()).raise_for_status().json()
    assert (new_file["bytes"], new_file["sha256"]) == (200 * MIB, digest.hexdigest())
    content_digest = hashlib.sha256()
    url = f"{server.url}/v1/files/{new_file['id']}/content"
    headers = {"authorization": f"Bearer {account.key}"}
    with httpx.stream("GET", url, headers=headers, trust_env=False) as response:
        for piece in response.iter_bytes():
            content_digest.update(piece)
    assert content_digest.digest() == digest.digest()
    growth = server.memory_bytes("VmHWM") - before
    print(f"peak memory grew by {growth / MIB:.1f} MiB")
    assert growth < 24 * MIB


def test_a_steady_upload_may_take_longer_than_a_json_body(account: Account, server: FileServer) -> None:
    def body() -> Iterator[bytes]:
        yield HEAD
        for _ in range(8):
            time.sleep(0.4)
            yield b"x" * 1000
        yield TAIL

    assert _post(server, account, body()).json()["bytes"] == 8000


def test_a_stalled_upload_ends_and_leaves_nothing(account: Account, server: FileServer) -> None:
    with _connect(server, account, "content-length: 100000") as connection:
        connection.sendall(HEAD + b"x" * 1000)
        reply = _reply(connection, b"upload_stalled")
    assert reply.startswith(b"HTTP/1.1 408 ")
    _wait_until_nothing_is_left(server)


def test_an_announced_size_above_the_limit_is_refused_before_anything_is_read(
    account: Account, server: FileServer
) -> None:
    with _connect(server, account, f"content-length: {400 * MIB}", "expect: 100-continue") as connection:
        assert _reply(connection, b"file_too_large").startswith(b"HTTP/1.1 413 ")
    with _connect(server, account, f"content-length: {299 * MIB}", "expect: 100-continue") as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 100 ")
    _wait_until_nothing_is_left(server)


def test_a_chunked_upload_above_the_limit_ends_when_it_gets_there(
    account: Account, server: FileServer
) -> None:
    block = b"%x\r\n%s\r\n" % (MIB, b"\0" * MIB)
    with _connect(server, account, "transfer-encoding: chunked") as connection:
        connection.sendall(b"%x\r\n%s\r\n" % (len(HEAD), HEAD))
        for _ in range(301):
            connection.sendall(block)
        assert _reply(connection, b"file_too_large").startswith(b"HTTP/1.1 413 ")
    _wait_until_nothing_is_left(server)


def test_an_upload_that_breaks_off_anywhere_leaves_nothing(account: Account, server: FileServer) -> None:
    body = form(b"some content")
    for length in range(0, len(body), 7):
        with _connect(server, account, f"content-length: {len(body)}") as connection:
            connection.sendall(body[:length])
    with _connect(server, account, "transfer-encoding: chunked") as connection:
        connection.sendall(b"10000\r\n" + HEAD + b"x" * 5000)
    _wait_until_nothing_is_left(server)


def test_concurrent_uploads_can_not_exceed_the_limit_of_their_tenant(
    account: Account, server: FileServer
) -> None:
    from tenants.services import tenant_update

    limit, size = 80 * MIB, 2 * MIB  # 40 announced files minus what their forms add
    tenant_update(tenant_id=account.tenant.id, actor="tests", stored_bytes=limit)
    body = HEAD + b"\0" * size + TAIL
    start = threading.Barrier(64)

    def upload(number: int) -> httpx.Response:
        pieces = iter([body]) if number % 2 else body  # half of them don't announce their size
        start.wait()
        return _post(server, account, pieces)

    with ThreadPoolExecutor(64) as threads:
        replies = list(threads.map(upload, range(64)))
    statuses = [reply.status_code for reply in replies]
    assert set(statuses) == {200, 413}
    assert {reply.json()["error"]["code"] for reply in replies if reply.status_code == 413} == {
        "file_quota_exceeded"
    }
    stored_sizes = [path.stat().st_size for path in server.contents()]
    assert stored_sizes == [size] * statuses.count(200)
    assert sum(stored_sizes) <= limit
    assert _rows() == (statuses.count(200), 0)


def test_streams_of_other_tenants_go_on_during_a_check(account: Account, server: FileServer) -> None:
    line = b'{"messages":[{"role":"user","content":"%06d"},{"role":"assistant","content":"b"}]}\n'
    content = b"".join(line % number for number in range(60_000))
    slowest_s = 0.0
    end_event = threading.Event()

    def probe() -> None:
        nonlocal slowest_s
        with httpx.Client(trust_env=False) as client:
            while not end_event.is_set():
                started_at = time.monotonic()
                client.get(f"{server.url}/health/live")
                slowest_s = max(slowest_s, time.monotonic() - started_at)
                time.sleep(0.02)

    prober = threading.Thread(target=probe)
    prober.start()
    started_at = time.monotonic()
    reply = _post(server, account, form(content, "a.jsonl", "fine-tune"))
    duration_s = time.monotonic() - started_at
    end_event.set()
    prober.join()
    assert reply.json()["dataset_report"]["examples"] == 60_000
    print(f"checked in {duration_s:.1f} s, slowest answer after {slowest_s:.2f} s")
    assert slowest_s < duration_s / 2
