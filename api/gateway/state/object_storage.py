"""Object storage: calls of disks and storage libraries in threads, with their errors as those of the API."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import IO, TypeVar

from django.db import connections

from api.gateway.capacity.tenant_semaphore import TenantSemaphore
from api.gateway.state.database import THREADS as DATABASE_THREADS
from api.gateway.state.database import Database
from api.openai.errors.base import ApiError
from api.openai.errors.files import FileStorageUnavailable, FileTooLarge
from inference_worker.telemetry.masking import trace_without_messages
from tenants.files.storage import incoming

logger = logging.getLogger("cyllm.gateway.files")
T = TypeVar("T")

THREADS = 16
DELETIONS = 4  # of one tenant at a time


class StorageThreads:
    """Threads for disks and object stores, which may be slow."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="files")

    async def run(self, function: Callable[..., T], *args: object) -> T:
        """Return ``function(*args)``. A cancellation waits for its end, as it may use files."""
        future = asyncio.get_running_loop().run_in_executor(self._threads, function, *args)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait([future])
            raise

    async def run_with_database(self, function: Callable[..., T], *args: object) -> T:
        """Like ``run``, for a function that also uses the database; closes the connection after it."""

        def call() -> T:
            try:
                return function(*args)
            finally:
                connections.close_all()

        return await self.run(call)

    async def close(self) -> None:
        """End the threads. Their last calls end with the requests that made them."""
        self._threads.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True, slots=True)
class ObjectStorage:
    """The storage of files and archives, with the database that has their rows.

    ``calls`` and ``deletions``: a tenant's calls of the database, and deletions in the storage, so that none
    occupies all threads.
    """

    database: Database
    threads: StorageThreads = field(default_factory=StorageThreads)
    calls: TenantSemaphore = field(default_factory=lambda: TenantSemaphore(DATABASE_THREADS // 2))
    deletions: TenantSemaphore = field(default_factory=lambda: TenantSemaphore(DELETIONS))

    async def call(
        self, tenant_id: uuid.UUID | str, function: Callable[[], T], *, timeout_s: float | None = None
    ) -> T:
        """Return ``function()``, called in a thread of the database. Raises DatabaseUnavailable."""
        async with self.calls.acquire(str(tenant_id)):
            return await self.database.call(function, timeout_s=timeout_s)

    async def discard(
        self, tenant_id: uuid.UUID | str, function: Callable[[str], object], names: Sequence[str]
    ) -> None:
        """Delete objects of the storage with ``function``. After an error, the sweeps do it."""
        try:
            for name in names:
                async with self.deletions.acquire(str(tenant_id)):
                    await self.threads.run_with_database(function, name)
        except Exception as error:
            logger.warning("an object is left to the sweep: %s", type(error).__name__)

    async def read(self, content: IO[bytes], size: int) -> bytes:
        """Return the next bytes of an open content, none at its end."""
        with storage_errors():
            return await self.threads.run(content.read, size)


@contextlib.contextmanager
def storage_errors() -> Iterator[None]:
    """Turn errors of disks and storage libraries into errors of the API."""
    try:
        yield
    except incoming.FileTooLargeError as error:
        raise FileTooLarge(limit=error.limit) from None
    except (ApiError, asyncio.CancelledError):
        raise
    except Exception as error:
        # An exception's text can contain host names and paths.
        logger.error("the file storage failed", extra={"trace": trace_without_messages(error)})
        raise FileStorageUnavailable() from None
