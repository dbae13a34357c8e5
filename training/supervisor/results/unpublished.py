"""Results that don't become models of the API: archives in the tenant's files."""

from __future__ import annotations

import tarfile
from pathlib import Path

from tenants.files.creation import NewFile, StoredContent, content_store
from tenants.files.models import Purpose
from tenants.files.storage.incoming import FileTooLargeError
from tenants.files.uploads import FileQuotaError
from training.jobs.failures import Failure
from training.models import FineTuningJob
from training.publishing.errors import PublishingError, work_folder_errors
from training.supervisor.persistence import Persist


def store_result(job: FineTuningJob, folder: Path, persist: Persist) -> StoredContent:
    """Store a result as a tar archive for a file of the tenant. Raises PublishingError."""
    archive = folder.with_name("result.tar")
    new = NewFile(filename=f"{job.id}-result.tar", purpose=Purpose.FINE_TUNE_RESULTS)
    try:
        _pack(folder, archive)
        return persist(lambda: _store(job, archive, new))
    except FileTooLargeError as error:
        step = "Ask the operator to allow larger files (CYLLM_MAX_FILE_BYTES) and resume the job"
        raise _too_large(error.limit, step) from None
    except FileQuotaError as error:
        step = (
            "Ask the operator for a higher limit of the tenant's files"
            if error.is_permanent
            else "Delete files that are no longer needed"
        )
        raise _too_large(error.limit, f"{step} and resume the job") from None
    except OSError as error:
        message = f"The result can't be stored: {error.strerror or type(error).__name__}."
        raise PublishingError(
            Failure(code="storage_unavailable", message=message, is_transient=True)
        ) from None
    finally:
        archive.unlink(missing_ok=True)


def _too_large(limit: int, step: str) -> PublishingError:
    return PublishingError(
        Failure(
            code="result_too_large",
            message=f"The result can't be stored: it exceeds the limit of {limit} bytes.",
            next_step=f"{step}, or train an adapter of the kind 'lora'.",
        )
    )


def _pack(folder: Path, archive: Path) -> None:
    with work_folder_errors(), tarfile.open(archive, "w") as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, arcname=path.name, filter=_without_owner)


def _store(job: FineTuningJob, archive: Path, new: NewFile) -> StoredContent:
    with archive.open("rb") as content:
        return content_store(tenant_id=job.tenant_id, content=content, new=new)


def _without_owner(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Return the member without the names and ids of the worker's user."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member
