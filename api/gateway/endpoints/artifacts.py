"""``GET /internal/artifacts/{sha256}``: archives of adapters for inference workers, by signed URL.

For workers that can't read the file storage. The gateway signs the URLs (``CYLLM_INTERNAL_URL``). Not
part of the API: not in its document, and without a key, a tenant or a record.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.core.files.base import File

from api.gateway.http.disconnect import Receive, cancel_on_disconnect
from api.gateway.http.download import send_content
from api.gateway.http.exchange import Exchange
from api.gateway.http.response_sender import ResponseSender
from api.gateway.http.url_table import QueryParameters
from api.gateway.settings import Limits
from api.gateway.state.object_storage import ObjectStorage, storage_errors
from api.openai.errors.access import UnknownUrl
from api.openai.errors.base import printable
from inference_worker.protocol.adapter_archive import is_digest
from inference_worker.registry.adapter_urls import AdapterUrls
from inference_worker.registry.archives import archive_open

URL_QUERY: QueryParameters = {"expires": {"type": "string"}, "token": {"type": "string"}}


@dataclass(frozen=True, slots=True)
class ArtifactEndpoint:
    """Sends archives from the file storage."""

    limits: Limits
    adapter_urls: AdapterUrls
    storage: ObjectStorage

    async def download(self, exchange: Exchange, receive: Receive, sender: ResponseSender) -> None:
        """Serve one request. A wrong or expired URL gets the same 404 as an unknown one."""
        sha256, query = exchange.path_values["sha256"], exchange.query
        if not is_digest(sha256) or not self.adapter_urls.is_valid(
            sha256, query["expires"] or "", query["token"] or ""
        ):
            raise _not_found(exchange)
        await cancel_on_disconnect(receive, self._send(sha256, exchange, sender))

    async def _send(self, sha256: str, exchange: Exchange, sender: ResponseSender) -> None:
        async with self._open(sha256, exchange) as content:
            await sender.begin_download(content.size, {"content-type": "application/x-tar"})
            read = partial(self.storage.read, content)
            await send_content(sender, read, content.size, self.limits.file_stall_timeout_s)

    @asynccontextmanager
    async def _open(self, sha256: str, exchange: Exchange) -> AsyncIterator[File[Any]]:
        with storage_errors():
            try:
                content = await self.storage.threads.run(archive_open, sha256)
            except FileNotFoundError:
                raise _not_found(exchange) from None
        try:
            yield content
        finally:
            await asyncio.shield(self.storage.threads.run(content.close))


def _not_found(exchange: Exchange) -> UnknownUrl:
    return UnknownUrl(method=printable(exchange.method), path=printable(exchange.path))
