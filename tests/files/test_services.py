"""Files are stored and deleted so that no crash and no outage leaves anything behind."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage, storages
from django.db import OperationalError
from django.utils import timezone
from moto import mock_aws

from tenants.files import creation, deletion, selectors, sweep, tasks, uploads
from tenants.files.creation import NewFile
from tenants.files.deletion import FileInUseError
from tenants.files.models import PendingObject, Purpose, StoredFile
from tenants.files.settings import bucket_address, storage_settings
from tenants.files.storage import incoming
from tenants.files.storage.incoming import IncomingFile, incoming_sweep
from tenants.files.uploads import FileQuotaError, Upload, UploadLostError
from tenants.models import AdminAudit, Tenant
from tests.people import Cast

pytestmark = pytest.mark.django_db(transaction=True)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=["folder", "bucket"])
def storage(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """The default storage: a folder that moves files, and a bucket that copies them."""
    address = bucket_address("s3://models/cy/llm?region=us-east-1") if request.param == "bucket" else None
    storage: Any = storages.create_storage(dict(storage_settings(address, tmp_path / "files")))
    monkeypatch.setattr(default_storage, "_wrapped", storage)
    with mock_aws() if address else contextlib.nullcontext():
        if address:
            storage.connection.create_bucket(Bucket=address.bucket)
        yield storage


def _store(cast: Cast, content: bytes = b"content", **changes: Any) -> StoredFile:
    new = NewFile(**{"filename": "a.txt", "purpose": Purpose.USER_DATA, **changes})
    return creation.file_store(tenant_id=cast.acme.id, content=io.BytesIO(content), new=new, actor="tests")


def _begin(tenant: Tenant, size: int) -> Upload:
    return uploads.upload_begin(tenant_id=tenant.id, needed_bytes=size, wanted_bytes=size, limit=100)


def _objects(storage: Any, folder: str = "") -> list[str]:
    try:
        folders, names = storage.listdir(folder)
    except FileNotFoundError:  # nothing has been stored yet
        return []
    inner = [name for inner in folders for name in _objects(storage, f"{folder}/{inner}".strip("/"))]
    return [*inner, *(f"{folder}/{name}".strip("/") for name in names)]


def test_a_file_is_stored_read_and_deleted(storage: Any, cast: Cast) -> None:
    file = _store(cast, b"one\r\ntwo", filename="../b.txt")
    assert (file.filename, file.size_bytes) == ("b.txt", 8)
    assert _objects(storage) == [file.storage_name]
    with selectors.file_open(file) as content:
        assert content.read() == b"one\r\ntwo"
    assert selectors.tenant_bytes(cast.acme.id) == 8
    assert deletion.file_delete(file_id=file.id, tenant_id=cast.acme.id, actor="tests")
    assert not deletion.file_delete(file_id=file.id, tenant_id=cast.acme.id, actor="tests")
    assert _objects(storage) == []
    assert not PendingObject.objects.exists()
    changes = list(AdminAudit.objects.filter(object_id=file.id).order_by("id"))
    assert [change.action for change in changes] == ["file.create", "file.delete"]
    assert changes[0].after is not None
    assert changes[1].before is not None
    assert changes[0].after["sha256"] == changes[1].before["sha256"] == file.sha256
    assert changes[0].tenant_id == cast.acme.id


def test_a_large_file_is_stored_in_parts_and_read_as_it_arrives(storage: Any, cast: Cast) -> None:
    content = bytes(range(256)) * 80_000  # more than two parts of a bucket's upload
    file = _store(cast, content)
    with selectors.file_open(file) as content_file:
        assert content_file.read(1000) == content[:1000]
        assert content_file.read() == content[1000:]
    assert hashlib.sha256(content).hexdigest() == file.sha256
    storage.delete(file.storage_name)
    with pytest.raises(FileNotFoundError):
        selectors.file_open(file)


def test_a_file_of_another_tenant_can_not_be_deleted(storage: Any, cast: Cast) -> None:
    file = _store(cast)
    assert not deletion.file_delete(file_id=file.id, tenant_id=cast.globex.id, actor="tests")
    assert _objects(storage) == [file.storage_name]


def test_expired_files_vanish_at_once_and_are_deleted_by_the_sweep(storage: Any, cast: Cast) -> None:
    valid_file, expired_file = _store(cast), _store(cast, lifetime_s=3600)
    assert selectors.file_find(file_id=expired_file.id, tenant_id=cast.acme.id) == expired_file
    StoredFile.objects.filter(id=expired_file.id).update(expires_at=timezone.now())
    assert selectors.file_find(file_id=expired_file.id, tenant_id=cast.acme.id) is None
    assert tasks.files_sweep_task() == 1
    assert _objects(storage) == [valid_file.storage_name]
    change = AdminAudit.objects.get(object_id=expired_file.id, action="file.expire")
    assert change.actor == "system:file-expiry"


@pytest.mark.parametrize("reference", ["training_file", "validation_file"])
def test_a_file_that_an_open_job_uses_is_neither_deleted_nor_expired(
    storage: Any, cast: Cast, reference: str
) -> None:
    from training.models import FineTuningJob

    file = _store(cast, lifetime_s=3600)
    job = FineTuningJob.objects.create(
        **{"training_file": "file-other", reference: file.id},
        id="ftjob-1",
        tenant=cast.acme,
        created_by="tests",
        base_model="tiny",
        method="supervised",
        seed=1,
        status="queued",
    )
    StoredFile.objects.filter(id=file.id).update(expires_at=timezone.now())
    with pytest.raises(FileInUseError) as excinfo:
        deletion.file_delete(file_id=file.id, actor="tests")
    assert excinfo.value.users == ["ftjob-1"]
    assert sweep.files_expire() == 0
    assert _objects(storage) == [file.storage_name]
    job.status = "succeeded"
    job.save()
    assert sweep.files_expire() == 1
    assert _objects(storage) == []


@pytest.mark.parametrize("step", ["upload_write", "file_create", "file_audit"])
def test_a_failure_at_any_step_leaves_nothing(
    storage: Any, cast: Cast, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(creation, step, fail)
    with pytest.raises(OSError, match="no space"):
        _store(cast)
    assert _objects(storage) == []
    assert not StoredFile.objects.exists()
    assert not PendingObject.objects.exists()


def test_a_storage_that_fails_keeps_the_object_for_the_sweep(
    storage: Any, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = _store(cast)
    delete: Callable[[str], None] = storage.delete

    def fail(_: str) -> None:
        raise ConnectionError("the bucket is away")

    monkeypatch.setattr(storage, "delete", fail)
    assert deletion.file_delete(file_id=file.id, actor="tests"), "the client's file is gone"
    assert sweep.objects_sweep() == 0
    assert _objects(storage) == [file.storage_name]
    monkeypatch.setattr(storage, "delete", delete)
    assert sweep.objects_sweep() == 0, "it is not tried again at once"
    PendingObject.objects.update(alive_until=timezone.now())
    assert sweep.objects_sweep() == 1
    assert _objects(storage) == []


def test_a_swept_upload_can_not_become_a_file(storage: Any, cast: Cast, tmp_path: Path) -> None:
    upload = _begin(cast.acme, 10)
    with IncomingFile(tmp_path, 100) as file:
        file.write(b"content")
        file.complete()
        uploads.upload_write(upload, file)
        PendingObject.objects.update(alive_until=timezone.now())
        assert sweep.objects_sweep() == 1
        assert not uploads.upload_renew(upload)
        with pytest.raises(UploadLostError):
            creation.file_create(
                upload=upload,
                incoming=file,
                new=NewFile(filename="a", purpose=Purpose.BATCH),
                actor="tests",
            )
    assert _objects(storage) == []


def test_a_running_upload_is_not_swept(cast: Cast) -> None:
    upload = _begin(cast.acme, 10)
    assert sweep.objects_sweep() == 0
    assert uploads.upload_renew(upload)


def test_reservations_count_towards_the_limit(cast: Cast) -> None:
    upload = _begin(cast.acme, 60)
    extension = uploads.upload_extend(upload=upload, needed_bytes=30, wanted_bytes=500, limit=100)
    assert extension == 40, "all that is left"
    for needed_bytes in (1, 10**12):
        with pytest.raises(FileQuotaError):
            uploads.upload_extend(upload=upload, needed_bytes=needed_bytes, wanted_bytes=0, limit=100)
    with pytest.raises(FileQuotaError):
        _begin(cast.acme, 1)
    assert _begin(cast.globex, 100)
    deletion.object_delete(upload.storage_name)
    assert _begin(cast.acme, 100)


KILLED = """
import os, sys, time, django
django.setup()
from pathlib import Path
from tenants.files import uploads
from tenants.files.storage.incoming import IncomingFile
upload = uploads.upload_begin(tenant_id=sys.argv[1], needed_bytes=10, wanted_bytes=10, limit=100)
file = IncomingFile(Path(sys.argv[2]), 100)
file.write(b"content")
file.complete()
if sys.argv[3] == "written":
    uploads.upload_write(upload, file)
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("step", ["received", "written"])
def test_a_killed_process_leaves_nothing_behind_the_sweeps(
    cast: Cast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    from django.db import connection

    name = str(connection.settings_dict["NAME"])
    url = os.environ["CYLLM_DATABASE_URL"].rpartition("/")[0] + "/" + name
    environment = {**os.environ, "CYLLM_DATABASE_URL": url, "CYLLM_STATE_DIR": str(tmp_path / "state")}
    folder = tmp_path / "uploads"
    argv = [sys.executable, "-c", KILLED, str(cast.acme.id), str(folder), step]
    with subprocess.Popen(argv, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        monkeypatch.setattr(incoming, "MIN_AGE_S", -1)
        assert incoming_sweep(folder) == 0, "a living process holds its file"
        process.kill()
    options = storage_settings(None, tmp_path / "state" / "files")
    storage = storages.create_storage(dict(options))
    monkeypatch.setattr(default_storage, "_wrapped", storage)
    assert len(_objects(storage)) == (step == "written")
    assert incoming_sweep(folder) == (step == "received")
    assert list(folder.iterdir()) == []
    PendingObject.objects.update(alive_until=timezone.now())
    assert sweep.objects_sweep() == 1
    assert _objects(storage) == []


def test_a_database_outage_postpones_the_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> int:
        raise OperationalError("the database is away")

    monkeypatch.setattr(tasks, "files_expire", fail)
    assert tasks.files_sweep_task() == 0


def test_contents_are_readable_by_the_platform_alone(cast: Cast, tmp_path: Path) -> None:
    file = _store(cast)
    path = Path(default_storage.path(file.storage_name))
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0
