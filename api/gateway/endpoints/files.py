"""``/v1/files``: upload, list, retrieve, download and delete files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from django.utils.http import content_disposition_header

from api.gateway.capacity.pace import SOCKET_S_PER_BYTE
from api.gateway.capacity.process_capacity import Capacity
from api.gateway.http.disconnect import Disconnected, Receive, cancel_on_disconnect
from api.gateway.http.download import send_content
from api.gateway.http.exchange import Exchange
from api.gateway.http.multipart import MAX_FORM_BYTES, MultipartForm, check_multipart_headers
from api.gateway.http.response_sender import ResponseSender
from api.gateway.http.url_table import QueryParameters
from api.gateway.settings import Limits
from api.gateway.stages.body.receive_upload import receive_pieces
from api.gateway.stages.quota.reserve import Quota
from api.gateway.state.dataset_checks import DatasetChecks
from api.gateway.state.file_uploads import RESERVATION_STEP_BYTES, FileUpload, FileUploads
from api.gateway.state.files import FileStore
from api.openai.errors.files import FileTooLarge
from api.openai.schemas.files import FIELD_NAMES, check_purpose, validate_fields
from tenants.files.creation import NewFile
from tenants.files.models import Purpose, StoredFile

MAX_PAGE_SIZE = 10_000  # as in OpenAI's API, where it is the default too
LIST_QUERY: QueryParameters = {
    "purpose": {"enum": Purpose.values},
    "limit": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE_SIZE, "default": MAX_PAGE_SIZE},
    "order": {"enum": ["asc", "desc"], "default": "desc"},
    "after": {"type": "string"},
}


@dataclass(frozen=True, slots=True)
class FileEndpoints:
    """Endpoints of files; each tenant finds only its own."""

    limits: Limits
    capacity: Capacity
    store: FileStore
    uploads: FileUploads
    quota: Quota
    checks: DatasetChecks = field(default_factory=DatasetChecks)

    async def create(self, exchange: Exchange, receive: Receive, sender: ResponseSender) -> None:
        """``POST``: receive a form, check the file and store it. Raises ApiError, Disconnected."""
        boundary = check_multipart_headers(exchange)
        length, limit = exchange.content_length, self.limits.max_file_bytes
        if length is not None and length > limit + MAX_FORM_BYTES:
            raise FileTooLarge(limit=limit)
        await self.quota.count(exchange)
        tenant_id = exchange.tenant_id
        with self.capacity.uploads.slot(tenant_id), self.capacity.requests.slot(tenant_id):
            async with self.uploads.begin(exchange.caller, _sizes(length)) as upload:
                form = MultipartForm(boundary, FIELD_NAMES, upload.file.write)
                await self._receive(form, upload, receive)
                await self._finish(upload, form, exchange, receive, sender)

    async def _receive(self, form: MultipartForm, upload: FileUpload, receive: Receive) -> None:
        limit, tenant_id = self.limits.max_file_bytes, str(upload.reservation.tenant_id)
        large_bodies, pace = self.capacity.large_bodies, self.capacity.large_bodies.pace
        feed = large_bodies.charged(tenant_id, form.feed)
        received_bytes = 0
        async for data in receive_pieces(receive, self.limits.file_stall_timeout_s):
            received_bytes += len(data)
            if received_bytes > limit + MAX_FORM_BYTES:
                raise FileTooLarge(limit=limit)
            pace.charge(tenant_id, len(data) * SOCKET_S_PER_BYTE)
            await self.uploads.write(upload, feed, data)
            check_purpose(form.fields)  # before the rest of a large file arrives
            await pace.wait(tenant_id)
        form.finish()

    async def _finish(
        self,
        upload: FileUpload,
        form: MultipartForm,
        exchange: Exchange,
        receive: Receive,
        sender: ResponseSender,
    ) -> None:
        fields = validate_fields(form.fields)
        new = NewFile(
            filename=form.filename or "", purpose=Purpose(fields.purpose), lifetime_s=fields.lifetime_s
        )

        async def work() -> None:
            await self.uploads.complete(upload)
            report = None
            if new.purpose == Purpose.FINE_TUNE:
                report = await self.checks.report(upload.file.path, exchange.tenant_id)
            file = await self.uploads.store(
                upload, replace(new, dataset_report=report), exchange.caller.actor
            )
            await sender.json(json.dumps(file_object(file)).encode())

        await cancel_on_disconnect(receive, work())

    async def list(self, exchange: Exchange, _: Receive, sender: ResponseSender) -> None:
        """``GET``: a page of the tenant's files."""
        query = exchange.query
        limit: int = query["limit"]
        files = await self.store.page(
            exchange.tenant_id,
            purpose=query["purpose"],
            after=query["after"],
            is_ascending=query["order"] == "asc",
            limit=limit + 1,
        )
        body = await self.store.storage.threads.run(_page_body, files[:limit], len(files) > limit)
        with self.capacity.bodies.hold(exchange.tenant_id, len(body)):
            await sender.json(body)

    async def retrieve(self, exchange: Exchange, _: Receive, sender: ResponseSender) -> None:
        """``GET …/{id}``: the metadata of a file."""
        file = await self.store.find(exchange.path_values["id"], exchange.tenant_id)
        await sender.json(json.dumps(file_object(file)).encode())

    async def delete(self, exchange: Exchange, _: Receive, sender: ResponseSender) -> None:
        """``DELETE …/{id}``: delete a file, unless a job that has not ended needs it."""
        file_id = exchange.path_values["id"]
        await self.store.delete(file_id, exchange.tenant_id, exchange.caller.actor)
        await sender.json(json.dumps({"id": file_id, "object": "file", "deleted": True}).encode())

    async def content(self, exchange: Exchange, receive: Receive, sender: ResponseSender) -> None:
        """``GET …/{id}/content``: the bytes of a file, as fast as the client reads them."""
        file = await self.store.find(exchange.path_values["id"], exchange.tenant_id)
        with self.capacity.requests.slot(exchange.tenant_id):
            try:
                await cancel_on_disconnect(receive, self._send_content(file, exchange.method, sender))
            except Disconnected:
                if not sender.is_complete:  # a client may leave as soon as it has the last byte
                    raise

    async def _send_content(self, file: StoredFile, method: str, sender: ResponseSender) -> None:
        headers = {
            "content-type": "application/octet-stream",
            "content-disposition": content_disposition_header(True, file.filename) or "attachment",
        }
        async with self.store.open(file) as content:
            await sender.begin_download(file.size_bytes, headers)
            size_bytes = 0 if method == "HEAD" else file.size_bytes
            read = partial(self.store.storage.read, content)
            await send_content(sender, read, size_bytes, self.limits.file_stall_timeout_s)
            if not sender.is_complete:
                await sender.download(b"", is_last=True)


def file_object(file: StoredFile, *, with_report: bool = True) -> dict[str, Any]:
    """Return a file in OpenAI's format, with its digest and, for a dataset, its report."""
    body: dict[str, Any] = {
        "id": file.id,
        "object": "file",
        "bytes": file.size_bytes,
        "created_at": int(file.created_at.timestamp()),
        "expires_at": int(file.expires_at.timestamp()) if file.expires_at else None,
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
        "sha256": file.sha256,
    }
    if with_report and file.dataset_report is not None:
        body["dataset_report"] = file.dataset_report
    return body


def _page_body(files: Sequence[StoredFile], has_more: bool) -> bytes:
    """Return a page as JSON, encoded file by file, so that other threads run meanwhile."""
    ends = {
        "object": "list",
        "first_id": files[0].id if files else None,
        "last_id": files[-1].id if files else None,
        "has_more": has_more,
    }
    data = ", ".join(json.dumps(file_object(file, with_report=False)) for file in files)
    return f'{json.dumps(ends)[:-1]}, "data": [{data}]}}'.encode()


def _sizes(body_bytes: int | None) -> range:
    """Return the sizes that the file in a form of this length may have."""
    if body_bytes is None:
        return range(RESERVATION_STEP_BYTES)
    return range(max(0, body_bytes - MAX_FORM_BYTES), body_bytes)
