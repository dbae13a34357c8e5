"""Uploads of files: reserved in the database, written to the disk, then moved to the storage."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from django.conf import settings

from api.gateway.capacity.tenant_semaphore import TenantSemaphore
from api.gateway.settings import Limits
from api.gateway.state.object_storage import ObjectStorage, storage_errors
from api.openai.errors.base import ApiError
from api.openai.errors.files import FileQuotaExceeded, FileStorageUnavailable
from tenants.files import creation, deletion, uploads
from tenants.files.creation import NewFile
from tenants.files.models import StoredFile
from tenants.files.storage import incoming
from tenants.files.storage.incoming import IncomingFile
from tenants.files.uploads import Upload
from tenants.keys.selectors import KeyPrincipal

logger = logging.getLogger("cyllm.gateway.files")

RESERVATION_STEP_BYTES = 32 * 1024 * 1024  # for bodies of unknown length


@dataclass(slots=True)
class FileUpload:
    """A running upload: its reservation, and its file on disk until it ``is_stored``.

    ``stored_limit``: bytes that all files of the tenant may have together.
    """

    reservation: Upload
    file: IncomingFile
    reserved_bytes: int
    stored_limit: int
    is_stored: bool = False


@dataclass(frozen=True, slots=True)
class FileUploads:
    """Receives files. Every method raises DatabaseUnavailable or FileStorageUnavailable."""

    storage: ObjectStorage
    limits: Limits
    parsing: TenantSemaphore = field(default_factory=TenantSemaphore)

    @asynccontextmanager
    async def begin(self, principal: KeyPrincipal, sizes: range) -> AsyncIterator[FileUpload]:
        """Begin an upload. Without a call of ``store``, nothing of it is left at the end.

        ``sizes``: bytes that the file may have, as far as they are known. Raises FileQuotaExceeded.
        """
        limit, stored_limit = self.limits.max_file_bytes, principal.stored_bytes
        if stored_limit is None:
            stored_limit = self.limits.tenant_file_bytes
        reservation = await self._reserve(principal.tenant_id, sizes, stored_limit)
        renewal = asyncio.create_task(self._renew(reservation))
        upload: FileUpload | None = None
        try:
            with storage_errors():
                file = await self.storage.threads.run(IncomingFile, Path(settings.FILE_INCOMING_DIR), limit)
            upload = FileUpload(reservation, file, reservation.reserved_bytes, stored_limit)
            yield upload
        finally:
            renewal.cancel()
            await asyncio.shield(self._discard(reservation, upload))

    async def write(self, upload: FileUpload, feed: Callable[[bytes], None], data: bytes) -> None:
        """Pass a piece of the body to ``feed``, which writes the file's part of it to ``upload.file``.

        Raises FileQuotaExceeded, FileTooLarge, and errors of ``feed``.
        """
        # One piece of a tenant at a time: a file full of almost-boundaries is parsed slowly, byte by byte.
        async with self.parsing.acquire(str(upload.reservation.tenant_id)):
            with storage_errors():
                await self.storage.threads.run(feed, data)
        # Reserve afterwards: only the parser can tell the file's bytes from those of the form around it.
        missing_bytes = upload.file.size_bytes - upload.reserved_bytes
        if missing_bytes > 0:
            await self._extend(upload, missing_bytes)

    async def complete(self, upload: FileUpload) -> None:
        """Write the whole file to the disk."""
        with storage_errors():
            await self.storage.threads.run(upload.file.complete)

    async def store(self, upload: FileUpload, new: NewFile, actor: str) -> StoredFile:
        """Move a complete upload to the storage and record it as a file."""
        with storage_errors():
            await self.storage.threads.run(uploads.upload_write, upload.reservation, upload.file)
        create = partial(
            creation.file_create, upload=upload.reservation, incoming=upload.file, new=new, actor=actor
        )
        try:
            file = await self.storage.call(upload.reservation.tenant_id, create)
        except uploads.UploadLostError:
            logger.error("an upload was swept before its end: %s", upload.reservation.storage_name)
            raise FileStorageUnavailable() from None
        upload.is_stored = True
        return file

    async def _reserve(self, tenant_id: uuid.UUID, sizes: range, limit: int) -> Upload:
        reserve = partial(
            uploads.upload_begin,
            tenant_id=tenant_id,
            needed_bytes=sizes.start,
            wanted_bytes=min(sizes.stop, self.limits.max_file_bytes),
            limit=limit,
        )
        try:
            return await self.storage.call(tenant_id, reserve)
        except uploads.FileQuotaError as error:
            raise _quota_error(limit, is_permanent=error.is_permanent) from None

    async def _extend(self, upload: FileUpload, needed_bytes: int) -> None:
        room, limit = self.limits.max_file_bytes - upload.reserved_bytes, upload.stored_limit
        extend = partial(
            uploads.upload_extend,
            upload=upload.reservation,
            needed_bytes=needed_bytes,
            wanted_bytes=min(room, RESERVATION_STEP_BYTES),
            limit=limit,
        )
        try:
            upload.reserved_bytes += await self.storage.call(upload.reservation.tenant_id, extend)
        except uploads.FileQuotaError:
            is_permanent = upload.reserved_bytes + needed_bytes > limit
            raise _quota_error(limit, is_permanent=is_permanent) from None
        except uploads.UploadLostError:
            raise FileStorageUnavailable() from None

    async def _renew(self, reservation: Upload) -> None:
        while True:
            await asyncio.sleep(uploads.LEASE_S / 3)
            with contextlib.suppress(ApiError):
                await self.storage.call(reservation.tenant_id, partial(uploads.upload_renew, reservation))

    async def _discard(self, reservation: Upload, upload: FileUpload | None) -> None:
        """Delete what is left of an upload. After an error here, the sweeps do it."""
        if upload is not None:
            try:
                await self.storage.threads.run(upload.file.discard)
            except RuntimeError:  # the process stops, and its threads have ended
                upload.file.discard()
            if upload.is_stored:
                return
        # If a write that seemed to fail has committed, its reservation is gone and nothing is deleted.
        await self.storage.discard(reservation.tenant_id, deletion.object_delete, [reservation.storage_name])

    async def sweep(self) -> None:
        """Delete incoming files of dead processes on this machine."""
        count = await self.storage.threads.run(incoming.incoming_sweep, Path(settings.FILE_INCOMING_DIR))
        if count:
            logger.warning("deleted %d incomplete uploads of processes that died", count)


def _quota_error(limit: int, *, is_permanent: bool) -> FileQuotaExceeded:
    advice = (
        "It exceeds the limit by itself: please upload a smaller one"
        if is_permanent
        else "Please delete files that are no longer needed, wait for your other uploads to finish"
    )
    return FileQuotaExceeded(limit=limit, advice=f"{advice}, or ask your administrator for a higher limit.")
