"""Files in the admin and on the command line."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage, storages
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client
from django.utils import timezone

from tenants.files import creation
from tenants.files.creation import NewFile
from tenants.files.models import Purpose, StoredFile
from tenants.files.settings import storage_settings
from tenants.models import AdminAudit
from tests.people import Cast
from tests.tenants.test_admin_access import signed_in, staff

pytestmark = pytest.mark.django_db(transaction=True)
CHAT_LINE = b'{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}\n'


def _store(cast: Cast, filename: str = "a.txt", **changes: Any) -> StoredFile:
    new = NewFile(filename=filename, purpose=Purpose.USER_DATA, **changes)
    content = io.BytesIO(b"secret-content")
    return creation.file_store(tenant_id=cast.acme.id, content=content, new=new, actor="tests")


def _use(cast: Cast, file: StoredFile) -> None:
    from training.models import FineTuningJob

    FineTuningJob.objects.create(
        id="ftjob-1",
        tenant=cast.acme,
        created_by="tests",
        base_model="tiny",
        method="supervised",
        seed=1,
        status="queued",
        training_file=file.id,
    )


def _run(*arguments: str) -> Any:
    out = io.StringIO()
    call_command("files", *arguments, "--json", stdout=out)
    return json.loads(out.getvalue())


# Pages


def _page(file: StoredFile, action: str) -> str:
    return f"/admin/files/storedfile/{file.id}/{action}/"


def test_pages_show_metadata_without_contents(cast: Cast) -> None:
    file = _store(cast, "<b>näme.txt", dataset_report={"examples": 3})
    client = signed_in(staff(cast, "viewer"))
    for path in ("/admin/files/storedfile/", _page(file, "change")):
        text = client.get(path).content.decode()
        assert "&lt;b&gt;näme.txt" in text
        assert "secret-content" not in text
    assert file.sha256 in client.get(_page(file, "change")).content.decode()
    assert client.get("/admin/files/storedfile/add/").status_code == 403


@pytest.mark.parametrize(
    ("role", "tenant", "status"),
    [("owner", "acme", 302), ("admin", "acme", 302), ("member", "acme", 403), ("owner", "globex", 302)],
)
def test_managers_of_the_tenant_delete_files(cast: Cast, role: str, tenant: str, status: int) -> None:
    file = _store(cast)
    client = signed_in(staff(cast, role, tenant))
    assert client.post(_page(file, "delete"), {"post": "yes"}).status_code == status
    is_deleted = tenant == "acme" and status == 302
    assert StoredFile.objects.filter(id=file.id).exists() != is_deleted
    assert default_storage.exists(file.storage_name) != is_deleted
    changes = AdminAudit.objects.filter(action="file.delete", object_id=file.id)
    assert [change.actor for change in changes] == ([f"user:staff-{role}-{tenant}"] if is_deleted else [])


def test_a_file_that_a_job_uses_is_protected(cast: Cast, client: Client) -> None:
    used_file, unused_file = _store(cast, "used.txt"), _store(cast, "unused.txt")
    _use(cast, used_file)
    client = signed_in(staff(cast, "owner"))
    question = client.get(_page(used_file, "delete")).content.decode()
    assert "ftjob-1" in question
    assert 'name="post"' not in question, "there is nothing to confirm"
    assert re.search(rf'<a href="{_page(used_file, "change")}"[^>]*>\s*Back\s*</a>', question)
    client.post(_page(used_file, "delete"), {"post": "yes"})
    selection = {
        "action": "delete_selected",
        "_selected_action": [used_file.id, unused_file.id],
        "post": "yes",
    }
    question = client.post("/admin/files/storedfile/", selection).content.decode()
    assert re.search(r'<a href="/admin/files/storedfile/"[^>]*>\s*Back\s*</a>', question)
    assert StoredFile.objects.count() == 2, "as a whole, like Django's own protected objects"
    selection["_selected_action"] = [unused_file.id]
    client.post("/admin/files/storedfile/", selection)
    assert list(StoredFile.objects.all()) == [used_file]


def test_the_history_of_a_file_is_its_audit_trail(cast: Cast) -> None:
    file = _store(cast)
    response = signed_in(staff(cast, "owner")).get(_page(file, "history"))
    assert response.status_code == 302
    assert f"object_id__exact={file.id}" in response["location"]


# Command


def test_the_command_uploads_shows_and_downloads(cast: Cast, tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(CHAT_LINE * 3)
    output = _run("upload", str(path), "--tenant", "acme", "--hours", "2")
    assert (output["filename"], output["purpose"], output["tenant"]) == (
        "train.jsonl",
        "fine-tune",
        "acme",
    )
    assert output["sha256"] == hashlib.sha256(CHAT_LINE * 3).hexdigest()
    assert output["dataset_report"]["examples"] == 3
    assert [row["id"] for row in _run("list", "--tenant", "acme")] == [output["id"]]
    assert _run("list", "--purpose", "batch") == []
    assert _run("show", output["id"])["expires_at"]
    copy = tmp_path / "copy"
    _run("download", output["id"], str(copy))
    assert copy.read_bytes() == path.read_bytes()
    with pytest.raises(CommandError, match="exists already"):
        _run("download", output["id"], str(copy))
    _run("delete", output["id"])
    assert not StoredFile.objects.exists()


def test_the_command_names_faults(cast: Cast, tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(CHAT_LINE + b"[]\n")
    with pytest.raises(CommandError, match="line 2: found an array"):
        _run("upload", str(path), "--tenant", "acme")
    with pytest.raises(CommandError, match="No such file or directory"):
        _run("upload", str(tmp_path / "nothing"), "--tenant", "acme")
    with pytest.raises(CommandError, match=r"Did you mean acme"):
        _run("upload", str(path), "--tenant", "acmee")
    file = _store(cast)
    with pytest.raises(CommandError, match=f"Did you mean {file.id}"):
        _run("show", file.id[:-1])
    _use(cast, file)
    with pytest.raises(CommandError, match="used by ftjob-1"):
        _run("delete", file.id)
    assert StoredFile.objects.count() == 1


def test_purge_deletes_expired_files_and_orphans(
    cast: Cast, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    storage = storages.create_storage(dict(storage_settings(None, tmp_path)))
    monkeypatch.setattr(default_storage, "_wrapped", storage)
    valid_file, expired_file = _store(cast), _store(cast)
    StoredFile.objects.filter(id=expired_file.id).update(expires_at=timezone.now())
    orphan = default_storage.save(f"files/{cast.acme.id}/file-of-a-newer-database", ContentFile(b"x"))
    artifact = default_storage.save("artifacts/digest", ContentFile(b"x"))
    assert _run("purge") == {"expired_files": 1, "pending_objects": 0, "orphaned_objects": 0}
    assert default_storage.exists(orphan), "it may belong to a transaction that has just begun"
    tomorrow = timezone.now() + dt.timedelta(days=1, minutes=1)
    monkeypatch.setattr(timezone, "now", lambda: tomorrow)
    assert _run("purge") == {"expired_files": 0, "pending_objects": 0, "orphaned_objects": 1}
    assert not default_storage.exists(orphan)
    assert default_storage.exists(valid_file.storage_name)
    assert default_storage.exists(artifact)
