"""Adapters on the worker's disk: a cache by digest, filled from a shared folder or by download."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import httpx

from inference_worker.protocol import adapter_archive
from inference_worker.protocol.adapter_archive import ArchiveError, DigestWriter
from inference_worker.protocol.messages import AdapterRef
from inference_worker.runtime.adapters.errors import AdapterUnavailableError

logger = logging.getLogger("cyllm.worker.adapters")

CONNECT_TIMEOUT_S = 5.0
PARTIAL_PREFIX = ".partial-"
STALE_S = 3600.0
_CHUNK = 2**20


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """``archive_bytes``: the largest archive. ``cache_bytes``: of all folders, beyond which the oldest go.

    ``download_s``: time for one download.
    """

    archive_bytes: int
    cache_bytes: int
    download_s: float


class AdapterStore:
    """Folders of verified adapters, named after their digest.

    Several workers may share ``folder``: adapters appear in it by a rename. ``shared_folder`` has the
    archives of adapters without an address.
    """

    def __init__(self, folder: Path, shared_folder: Path | None, limits: StoreLimits) -> None:
        self._folder, self._shared_folder, self._limits = folder, shared_folder, limits
        self._tasks: dict[str, asyncio.Task[Path]] = {}

    async def fetch(self, ref: AdapterRef) -> Path:
        """Return the folder of an adapter, verified anew. Concurrent calls for a digest share one download.

        Raises AdapterUnavailableError. A caller that is cancelled does not end the download.
        """
        if not adapter_archive.is_digest(ref.sha256):
            raise AdapterUnavailableError(f"{ref.name}: the digest is malformed")
        task = self._tasks.get(ref.sha256)
        if task is None:
            task = asyncio.create_task(asyncio.to_thread(self._fetch, ref), name=f"adapter-{ref.sha256[:12]}")
            self._tasks[ref.sha256] = task
            task.add_done_callback(lambda task: self._forget(ref.sha256, task))
        return await asyncio.shield(task)

    async def remove(self, sha256: str) -> None:
        """Delete an adapter's folder if it is there."""
        if adapter_archive.is_digest(sha256):
            await asyncio.to_thread(_remove, self._folder / sha256)

    def _forget(self, sha256: str, task: asyncio.Task[Path]) -> None:
        self._tasks.pop(sha256, None)
        if not task.cancelled():
            task.exception()  # its callers may have stopped waiting

    def _fetch(self, ref: AdapterRef) -> Path:
        folder = self._folder / ref.sha256
        try:
            if not self._is_intact(folder, ref.sha256):
                self._add(ref, folder)
            os.utime(folder)
        except (ArchiveError, httpx.HTTPError) as error:
            # An address may contain a signature, which must not be logged.
            reason = str(error) if isinstance(error, ArchiveError) else type(error).__name__
            raise AdapterUnavailableError(f"{ref.name}: {reason}") from None
        except OSError as error:
            raise AdapterUnavailableError(f"{ref.name}: {error.strerror or type(error).__name__}") from None
        return folder

    def _is_intact(self, folder: Path, sha256: str) -> bool:
        if not folder.is_dir():
            return False
        try:
            if adapter_archive.folder_digest(folder) == sha256:
                return True
        except (ArchiveError, OSError):
            pass
        logger.warning("the cached adapter %s is damaged: removed", sha256)
        _remove(folder)
        return False

    def _add(self, ref: AdapterRef, folder: Path) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._remove_stale()
        with self._partial_folder() as partial:
            start = time.monotonic()
            archive = partial / "archive"
            with archive.open("xb") as target:
                size = self._copy_verified(ref, target)
            content = partial / "content"
            content.mkdir()
            with archive.open("rb") as source:
                adapter_archive.unpack(source, content)
            try:
                content.rename(folder)
            except OSError:
                if not folder.is_dir():  # else another worker was faster
                    raise
        logger.info("fetched %s (%d bytes) in %.1f s", ref.name, size, time.monotonic() - start)
        self._trim(keep=ref.sha256)

    @contextmanager
    def _partial_folder(self) -> Iterator[Path]:
        partial = Path(tempfile.mkdtemp(prefix=PARTIAL_PREFIX, dir=self._folder))
        try:
            yield partial
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _copy_verified(self, ref: AdapterRef, target: BinaryIO) -> int:
        """Copy the archive and return its size. Raises ArchiveError, OSError, httpx.HTTPError."""
        writer = DigestWriter(target)
        for chunk in self._download(ref.url) if ref.url else self._read_shared(ref.sha256):
            writer.write(chunk)
            if writer.size > self._limits.archive_bytes:
                raise ArchiveError(f"the archive has more than {self._limits.archive_bytes} bytes")
        if writer.hexdigest() != ref.sha256:
            raise ArchiveError(f"the archive's digest is {writer.hexdigest()}, not {ref.sha256}")
        return writer.size

    def _read_shared(self, sha256: str) -> Iterator[bytes]:
        if self._shared_folder is None:
            raise ArchiveError("it has no address, and CYLLM_WORKER_ARTIFACT_DIR is not set")
        with (self._shared_folder / sha256).open("rb") as source:
            while chunk := source.read(_CHUNK):
                yield chunk

    def _download(self, url: str) -> Iterator[bytes]:
        deadline = time.monotonic() + self._limits.download_s
        timeout = httpx.Timeout(self._limits.download_s, connect=CONNECT_TIMEOUT_S)
        with httpx.stream("GET", url, timeout=timeout, follow_redirects=False) as response:
            if response.status_code != 200:
                raise ArchiveError(f"the storage answered with status {response.status_code}")
            for chunk in response.iter_raw(_CHUNK):
                if time.monotonic() > deadline:
                    raise ArchiveError(f"the download took longer than {self._limits.download_s:g} s")
                yield chunk

    def _trim(self, keep: str) -> None:
        """Remove the least recently fetched adapters beyond the size of the cache."""
        ages = sorted(
            (_used_at(folder), _size(folder), folder)
            for folder in self._folder.iterdir()
            if adapter_archive.is_digest(folder.name) and folder.name != keep
        )
        excess = sum(size for _, size, _ in ages) + _size(self._folder / keep) - self._limits.cache_bytes
        for _, size, folder in ages:
            if excess <= 0:
                return
            _remove(folder)
            excess -= size

    def _remove_stale(self) -> None:
        """Remove what killed workers left behind."""
        limit = time.time() - STALE_S
        for folder in self._folder.glob(PARTIAL_PREFIX + "*"):
            if _used_at(folder) < limit:
                shutil.rmtree(folder, ignore_errors=True)


# Another fetch, or a worker that shares the cache, may remove any of the folders meanwhile.


def _remove(folder: Path) -> None:
    """Delete an adapter's folder if it is there. Nobody finds a part of it under its name."""
    hidden_folder = folder.with_name(f"{PARTIAL_PREFIX}{uuid.uuid4().hex}")
    with suppress(OSError):
        folder.rename(hidden_folder)
        shutil.rmtree(hidden_folder, ignore_errors=True)


def _used_at(folder: Path) -> float:
    """Return when a folder was used last, 0 if it has been removed."""
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _size(folder: Path) -> int:
    """Return the bytes of a folder's files, 0 if it has been removed."""
    try:
        return sum(file.stat().st_size for file in folder.iterdir())
    except FileNotFoundError:
        return 0
