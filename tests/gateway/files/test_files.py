"""Uploads and downloads through the gateway: limits, capacity, faults of clients and of the storage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from django.conf import settings

from api.gateway.app import Gateway
from api.gateway.capacity.pace import SOCKET_S_PER_BYTE
from api.gateway.capacity.slots import SharedSlots, TenantSlots
from api.gateway.settings import Limits
from api.gateway.stages.body.receive_upload import MIN_BYTES_PER_S, receive_pieces
from api.openai.errors.files import UploadStalled
from tests.gateway.conftest import Keys
from tests.gateway.files.test_multipart import MALFORMED
from tests.gateway.harness.conditions import eventually
from tests.gateway.harness.driver import call, connect
from tests.gateway.harness.gateways import with_capacity, with_limits
from tests.gateway.harness.threads import in_thread
from tests.gateway.harness.uploads import BOUNDARY, FILES, field, form, start_upload, upload
from tests.openapi_validation import answer_faults

PURPOSE = field("purpose", "user_data")


@pytest.fixture
def limits() -> Limits:
    """Small limits for files, and long timeouts."""
    return Limits(max_file_bytes=100_000, tenant_file_bytes=150_000, file_uploads_per_tenant=4)


def _rows() -> tuple[int, int]:
    from tenants.files.models import PendingObject, StoredFile

    return StoredFile.objects.count(), PendingObject.objects.count()


async def _rows_now() -> tuple[int, int]:
    return await in_thread(_rows)


def _incoming() -> list[Path]:
    return list(Path(settings.FILE_INCOMING_DIR).glob("*"))


async def _nothing_is_left() -> bool:
    return await _rows_now() == (0, 0) and not _incoming()


async def test_a_form_is_served_however_it_is_split(gateway: Gateway, keys: Keys) -> None:
    content = b"\r\n--boundary-"
    body = form(content)
    for chunks in ([body], [body[at : at + 1] for at in range(len(body))]):
        reply = await upload(gateway, keys.acme, chunks=chunks)
        assert (reply.status, reply.document["purpose"]) == (200, "user_data")
        file_id = reply.document["id"]
        download = await call(gateway, "GET", f"{FILES}/{file_id}/content", key=keys.acme)
        assert download.body == content


@pytest.mark.case("robustness.1")
async def test_an_upload_goes_at_the_pace_of_its_tenant(gateway: Gateway, keys: Keys) -> None:
    pace = gateway.capacity.large_bodies.pace
    body = form(b"x" * 60_000)
    with (
        mock.patch.object(pace, "charge", wraps=pace.charge) as charge,
        mock.patch.object(pace, "wait", wraps=pace.wait) as wait,
    ):
        chunks = [body[:30_000], body[30_000:]]
        assert (await upload(gateway, keys.acme, chunks=chunks)).status == 200
    assert wait.await_args_list == [mock.call(keys.acme_id)] * 2
    assert charge.call_count == 4, "what was read and what was parsed, of each piece"
    assert sum(call.args[1] for call in charge.call_args_list) > len(body) * SOCKET_S_PER_BYTE


async def test_a_malformed_form_is_refused_and_leaves_nothing(gateway: Gateway, keys: Keys) -> None:
    for name in ("no file", "no purpose", "an unknown field", "no end", "a long name"):
        body, code, param, _ = MALFORMED[name]
        reply = await upload(gateway, keys.acme, body)
        assert (reply.status, reply.error["code"], reply.error["param"]) == (400, code, param)
        assert answer_faults("POST", FILES, reply.status, reply.headers, reply.body) == []
        await eventually(_nothing_is_left)


async def test_other_media_types_are_refused(gateway: Gateway, keys: Keys) -> None:
    for headers in (
        {"content-type": "application/json"},
        {"content-type": "multipart/form-data"},
        {"content-type": "multipart/form-data; boundary="},
        {"content-type": f"multipart/mixed; boundary={BOUNDARY}"},
        {"content-type": ""},
        {"content-encoding": "gzip"},
    ):
        reply = await upload(gateway, keys.acme, headers=headers)
        assert (reply.status, reply.error["code"]) == (415, "multipart_expected"), headers
        assert reply.headers["accept"] == "multipart/form-data"


async def test_a_boundary_that_is_too_long_is_refused(gateway: Gateway, keys: Keys) -> None:
    headers = {"content-type": f"multipart/form-data; boundary={'b' * 500}"}
    reply = await upload(gateway, keys.acme, headers=headers)
    assert (reply.status, reply.error["code"]) == (400, "invalid_multipart")
    await eventually(_nothing_is_left)


async def test_a_key_needs_the_scope_of_files(gateway: Gateway, keys: Keys) -> None:
    for method, path in (("GET", FILES), ("GET", f"{FILES}/file-1"), ("DELETE", f"{FILES}/file-1")):
        reply = await call(gateway, method, path, key=keys.reader)
        assert (reply.status, reply.error["code"]) == (403, "insufficient_scope")
    assert (await upload(gateway, keys.reader)).status == 403


async def test_a_client_that_leaves_at_any_point_leaves_nothing(gateway: Gateway, keys: Keys) -> None:
    body = form(b"content")
    for length in range(0, len(body), 11):
        connection = start_upload(gateway, keys.acme, chunks=[body[:length]], incomplete=True)
        await connection.close()
    await eventually(_nothing_is_left)
    assert gateway.capacity.requests.in_use == 0


async def test_limits_of_files_and_tenants(gateway: Gateway, keys: Keys) -> None:
    for options in ({"body": form(b"x" * 100_001)}, {"chunks": [form(b"x" * 100_001)]}):
        reply = await upload(gateway, keys.acme, **options)
        assert (reply.status, reply.error["code"]) == (413, "file_too_large")
    assert (await upload(gateway, keys.acme, form(b"x" * 100_000))).status == 200
    for options in ({"body": form(b"x" * 60_000)}, {"chunks": [form(b"x" * 60_000)]}):
        reply = await upload(gateway, keys.acme, **options)
        assert (reply.status, reply.error["code"]) == (413, "file_quota_exceeded")
    for options in ({"body": form(b"x" * 49_000)}, {"chunks": [form(b"x" * 500)]}):
        assert (await upload(gateway, keys.acme, **options)).status == 200, "a small file still fits"
    assert (await upload(gateway, keys.globex, form(b"x" * 60_000))).status == 200
    assert await _rows_now() == (4, 0)


async def test_a_file_may_take_the_last_byte_of_its_tenant(gateway: Gateway, keys: Keys) -> None:
    assert (await upload(gateway, keys.acme, form(b"x" * 100_000))).status == 200
    body = form(b"x" * 50_000)
    for options in ({"body": body}, {"chunks": [body]}, {"chunks": [body[:30_000], body[30_000:]]}):
        reply = await upload(gateway, keys.acme, **options)
        assert reply.status == 200, reply.body
        path = f"{FILES}/{reply.document['id']}"
        assert (await call(gateway, "DELETE", path, key=keys.acme)).status == 200
    for options in ({"body": form(b"x" * 50_001)}, {"chunks": [form(b"x" * 50_001)]}):
        assert (await upload(gateway, keys.acme, **options)).error["code"] == "file_quota_exceeded"
    assert await _rows_now() == (1, 0)


async def test_padding_around_the_parts_is_bounded(gateway: Gateway, keys: Keys) -> None:
    for body in (b"\r\n" * 100_000 + form(b"x"), form(b"x") + b"x" * 200_000):
        reply = await upload(
            gateway, keys.acme, chunks=[body[at : at + 5000] for at in range(0, 200_000, 5000)]
        )
        assert (reply.status, reply.error["code"]) == (413, "file_too_large")


async def test_concurrent_uploads_of_a_tenant_are_bounded(gateway: Gateway, keys: Keys) -> None:
    gateway = with_capacity(gateway, uploads=TenantSlots(2))
    running = [start_upload(gateway, keys.acme, chunks=[PURPOSE], incomplete=True) for _ in range(2)]
    await eventually(lambda: gateway.capacity.requests.in_use == 2)
    reply = await upload(gateway, keys.acme)
    assert (reply.status, reply.error["code"]) == (503, "overloaded")
    assert "retry-after" in reply.headers
    assert (await upload(gateway, keys.globex)).status == 200
    for connection in running:
        await connection.close()


async def test_an_upload_occupies_a_request_slot(gateway: Gateway, keys: Keys) -> None:
    gateway = with_capacity(gateway, requests=SharedSlots(1, 0.5))
    running = start_upload(gateway, keys.acme, chunks=[PURPOSE], incomplete=True)
    await eventually(lambda: gateway.capacity.requests.in_use == 1)
    assert (await upload(gateway, keys.globex)).error["code"] == "overloaded"
    await running.close()


async def _drain(pieces: AsyncIterator[bytes]) -> None:
    async for _ in pieces:
        pass


async def test_an_upload_that_trickles_is_ended() -> None:
    chunk_count = 0

    async def receive() -> dict[str, Any]:
        nonlocal chunk_count
        await asyncio.sleep(0.02)
        chunk_count += 1
        return {"type": "http.request", "body": b"x", "more_body": True}

    with pytest.raises(UploadStalled) as excinfo:
        await _drain(receive_pieces(receive, 0.2))
    assert chunk_count > 1, "it never fell silent"
    assert (excinfo.value.code, excinfo.value.rate) == ("upload_stalled", MIN_BYTES_PER_S)


async def test_a_client_that_stops_reading_does_not_keep_its_slot(gateway: Gateway, keys: Keys) -> None:
    gateway = with_limits(gateway, file_stall_timeout_s=0.2)
    file_id = (await upload(gateway, keys.acme, form(b"x" * 50_000))).document["id"]
    connection = connect(gateway, "GET", f"{FILES}/{file_id}/content", key=keys.acme)
    await eventually(lambda: connection.reply.status == 200)
    connection.is_reading = False
    reply = await connection.finish()
    assert gateway.capacity.requests.in_use == 0
    assert reply.status == 200


async def test_a_head_request_has_no_content(gateway: Gateway, keys: Keys) -> None:
    file_id = (await upload(gateway, keys.acme, form(b"content"))).document["id"]
    reply = await call(gateway, "HEAD", f"{FILES}/{file_id}/content", key=keys.acme)
    assert (reply.status, reply.headers["content-length"], reply.body) == (200, "7", b"")


def _content_path(file_id: str) -> Path:
    from django.core.files.storage import default_storage

    from tenants.files.models import StoredFile

    return Path(default_storage.path(StoredFile.objects.get(id=file_id).storage_name))


async def test_lost_content_is_an_error_and_never_a_short_file(gateway: Gateway, keys: Keys) -> None:
    file_id = (await upload(gateway, keys.acme, form(b"content"))).document["id"]
    await in_thread(lambda: _content_path(file_id).write_bytes(b"con"))
    reply = await call(gateway, "GET", f"{FILES}/{file_id}/content", key=keys.acme)
    assert (reply.status, reply.body, reply.is_complete) == (200, b"con", False), "the server closes it"
    await in_thread(lambda: _content_path(file_id).unlink())
    reply = await call(gateway, "GET", f"{FILES}/{file_id}/content", key=keys.acme)
    assert (reply.status, reply.error["code"]) == (503, "file_storage_unavailable")


async def test_a_full_disk_is_an_error_that_can_be_retried(
    gateway: Gateway, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tenants.files.storage.incoming import IncomingFile

    def fail(_: IncomingFile) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(IncomingFile, "complete", fail)
    reply = await upload(gateway, keys.acme)
    assert (reply.status, reply.error["code"]) == (503, "file_storage_unavailable")
    await eventually(_nothing_is_left)


def _create_job(keys: Keys, file_id: str) -> None:
    from training.models import FineTuningJob

    values = {"base_model": "tiny", "method": "supervised", "seed": 1, "status": "running"}
    FineTuningJob.objects.create(
        id="ftjob-1", tenant_id=keys.acme_id, created_by="tests", training_file=file_id, **values
    )


async def test_a_file_that_a_job_uses_is_not_deleted(gateway: Gateway, keys: Keys) -> None:
    file_id = (await upload(gateway, keys.acme)).document["id"]
    await in_thread(lambda: _create_job(keys, file_id))
    reply = await call(gateway, "DELETE", f"{FILES}/{file_id}", key=keys.acme)
    assert (reply.status, reply.error["code"]) == (400, "file_in_use")
    assert "ftjob-1" in reply.error["message"]
    assert (await call(gateway, "GET", f"{FILES}/{file_id}/content", key=keys.acme)).body == b"content"


async def test_files_have_documented_answers(gateway: Gateway, keys: Keys) -> None:
    creation = await upload(gateway, keys.acme)
    file_id = creation.document["id"]
    assert answer_faults("POST", FILES, creation.status, creation.headers, creation.body) == []
    for method, path, endpoint in (
        ("GET", f"{FILES}?limit=1&purpose=user_data", FILES),
        ("GET", f"{FILES}/{file_id}", f"{FILES}/{{id}}"),
        ("GET", f"{FILES}/file-0", f"{FILES}/{{id}}"),
        ("GET", f"{FILES}/{file_id}/content", f"{FILES}/{{id}}/content"),
        ("DELETE", f"{FILES}/{file_id}", f"{FILES}/{{id}}"),
    ):
        reply = await call(gateway, method, path, key=keys.acme)
        assert answer_faults(method, endpoint, reply.status, reply.headers, reply.body) == [], path


async def test_bad_query_parameters_are_refused(gateway: Gateway, keys: Keys) -> None:
    for query, param in (
        *(("limit=0", "limit"), ("limit=10001", "limit"), ("limit=x", "limit"), ("limit=1&limit=1", "limit")),
        *(("order=up", "order"), ("purpose=x", "purpose"), ("a=1", "a"), ("after=file-0", "after")),
    ):
        reply = await call(gateway, "GET", f"{FILES}?{query}", key=keys.acme)
        assert (reply.status, reply.error["param"]) == (400, param), query


async def test_any_text_is_an_unknown_id(gateway: Gateway, keys: Keys) -> None:
    for file_id in ("file-0", "file-%00", "\0", "x" * 500, "файл"):
        for method, end in (("GET", ""), ("DELETE", ""), ("GET", "/content")):
            reply = await call(gateway, method, f"{FILES}/{file_id}{end}", key=keys.acme)
            assert (reply.status, reply.error["code"]) == (404, "file_not_found"), file_id
