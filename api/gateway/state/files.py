"""Asynchronous access to stored files: rows in the database, contents in the storage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import IO

from api.gateway.state.object_storage import ObjectStorage, storage_errors
from api.openai.errors.base import printable
from api.openai.errors.files import FileInUse, FileNotFound
from api.openai.errors.parameters import InvalidValue
from tenants.files import deletion, selectors
from tenants.files.models import StoredFile


@dataclass(frozen=True, slots=True)
class FileStore:
    """Finds, opens and deletes files. Every method raises DatabaseUnavailable or FileStorageUnavailable."""

    storage: ObjectStorage

    async def find(self, file_id: str, tenant_id: str) -> StoredFile:
        """Return the tenant's file. Raises FileNotFound."""
        file = None
        if "\0" not in file_id:  # Postgres refuses texts with this character
            find = partial(selectors.file_find, file_id=file_id, tenant_id=tenant_id)
            file = await self.storage.call(tenant_id, find)
        if file is None:
            raise file_not_found(file_id)
        return file

    async def page(
        self, tenant_id: str, *, purpose: str | None, after: str | None, is_ascending: bool, limit: int
    ) -> Sequence[StoredFile]:
        """Return up to ``limit`` of the tenant's files after the file ``after``. Raises InvalidValue."""
        page = partial(
            selectors.files_page,
            tenant_id=tenant_id,
            purpose=purpose,
            after=after,
            is_ascending=is_ascending,
            limit=limit,
        )
        try:
            if after is not None and "\0" in after:
                raise StoredFile.DoesNotExist
            return await self.storage.call(tenant_id, page)
        except StoredFile.DoesNotExist:
            reason = f"there is no file '{printable(after or '')}'"
            raise InvalidValue(param="after", reason=reason) from None

    async def delete(self, file_id: str, tenant_id: str, actor: str) -> None:
        """Delete the tenant's file. Raises FileNotFound, FileInUse."""
        names: list[str] = []
        delete = partial(
            deletion.file_delete, file_id=file_id, tenant_id=tenant_id, actor=actor, discard=names.append
        )
        try:
            is_deleted = "\0" not in file_id and await self.storage.call(tenant_id, delete)
        except deletion.FileInUseError as error:
            users = ", ".join(error.users)
            raise FileInUse(file_id=printable(file_id), users=users) from None
        if not is_deleted:
            raise file_not_found(file_id)
        await self.storage.discard(tenant_id, deletion.object_delete, names)

    @asynccontextmanager
    async def open(self, file: StoredFile) -> AsyncIterator[IO[bytes]]:
        """Open the content of a file."""
        with storage_errors():
            content = await self.storage.threads.run(selectors.file_open, file)
        try:
            yield content
        finally:
            await asyncio.shield(self.storage.threads.run(content.close))


def file_not_found(file_id: str) -> FileNotFound:
    """Return the error for an unknown id, and for another tenant's."""
    return FileNotFound(file_id=printable(file_id), param="id")
