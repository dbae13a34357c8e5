"""Copies of a job's files on the training worker's disk, verified by their digest."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tenants.files.models import StoredFile
from tenants.files.selectors import file_of_open_job, file_open
from training.engine.disk_faults import DISK_FULL
from training.jobs.failures import Failure, work_folder_failure
from training.supervisor.persistence import Persist, run_once

COPY_BYTES = 1 << 20


class InputError(Exception):
    """A file of the job can't be used."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def copy_file(
    *,
    tenant_id: uuid.UUID,
    file_id: str,
    param: str,
    target: Path,
    check: Callable[[], None] = lambda: None,
    persist: Persist = run_once,
) -> None:
    """Copy a file from the storage, unless an earlier attempt has done so.

    ``check`` is called now and then, and may raise to interrupt the copy. Raises InputError.
    """
    file = persist(lambda: file_of_open_job(file_id=file_id, tenant_id=tenant_id))
    if file is None:
        raise _unusable("file_not_found", f"The file {file_id} does not exist any more.", param)
    if target.is_file() and _digest(target, check) == file.sha256:
        return
    part = target.with_name(f"{target.name}.part")
    try:
        digest = _copy(file, target, part, check)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise InputError(_copy_failure(error, file_id, part)) from error
    if digest != file.sha256:
        message = f"The content of the file {file_id} does not match its digest: the storage has damaged it."
        raise _unusable("file_damaged", message, param)


def _unusable(code: str, message: str, param: str) -> InputError:
    """Return the error of a file that must be uploaded again."""
    next_step = "Upload it again and create a new job."
    return InputError(Failure(code=code, message=message, next_step=next_step, param=param))


def _copy_failure(error: OSError, file_id: str, part: Path) -> Failure:
    """Return the failure of a copy: the work folder's if that can't be written, otherwise the storage's."""
    is_write = error.errno in DISK_FULL or error.filename == str(part)
    if is_write and (failure := work_folder_failure(error)) is not None:
        return failure
    message = f"The file {file_id} can't be copied: {error.strerror or type(error).__name__}."
    return Failure(code="file_unavailable", message=message, is_transient=True)


def _copy(file: StoredFile, target: Path, part: Path, check: Callable[[], None]) -> str:
    digest = hashlib.sha256()
    with file_open(file) as source, part.open("wb") as copy:
        while data := source.read(COPY_BYTES):
            check()
            digest.update(data)
            copy.write(data)
        copy.flush()
        os.fsync(copy.fileno())
    if digest.hexdigest() == file.sha256:
        part.replace(target)
    else:
        part.unlink()
    return digest.hexdigest()


def _digest(path: Path, check: Callable[[], None]) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as content:
        while data := content.read(COPY_BYTES):
            check()
            digest.update(data)
    return digest.hexdigest()
