"""A file has its name in the storage only once its content is complete."""

from __future__ import annotations

import io
import os
import stat
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.files.base import ContentFile, File
from django.core.files.storage import default_storage, storages

from inference_worker.registry.archives import archive_open, archive_save
from tenants.files.settings import bucket_address, storage_settings

SHA256 = "ab" * 32


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of the default storage."""
    monkeypatch.setattr(settings, "FILE_INCOMING_DIR", tmp_path / "incoming")
    storage: Any = storages.create_storage(dict(storage_settings(None, tmp_path / "files")))
    monkeypatch.setattr(default_storage, "_wrapped", storage)
    return tmp_path / "files"


class Observed(File):  # type: ignore[type-arg]
    """A content that notes which files the folder has while it is read, and may end with an error."""

    def __init__(self, folder: Path, *, fails: bool) -> None:
        super().__init__(io.BytesIO(b"onetwo"))
        self.folder, self.fails = folder, fails
        self.file_names: list[str] = []

    def chunks(self, *_: Any) -> Iterator[bytes]:
        yield b"one"
        self.file_names += files_below(self.folder)
        if self.fails:
            raise OSError("the source is lost")
        yield b"two"


def files_below(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file()]


def test_a_file_appears_when_it_is_complete(folder: Path) -> None:
    content = Observed(folder, fails=False)
    assert default_storage.save("artifacts/a", content) == "artifacts/a"
    assert content.file_names == []
    assert (folder / "artifacts/a").read_bytes() == b"onetwo"
    assert stat.S_IMODE((folder / "artifacts/a").stat().st_mode) == 0o600
    assert files_below(folder.parent / "incoming") == []


def test_nothing_is_left_of_a_file_that_is_not_complete(folder: Path) -> None:
    with pytest.raises(OSError, match="lost"):
        default_storage.save("artifacts/a", Observed(folder, fails=True))
    assert files_below(folder.parent) == []


def test_the_content_is_on_the_disk_before_the_file_has_its_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync_calls: list[tuple[str, bool]] = []
    fsync = os.fsync

    def observed_fsync(descriptor: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        sync_calls.append((kind, (folder / "artifacts/a").exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", observed_fsync)
    default_storage.save("artifacts/a", ContentFile(b"content"))
    assert sync_calls == [("file", False), ("folder", True), ("folder", True)]


def test_an_incomplete_archive_is_replaced_and_a_complete_one_kept(folder: Path) -> None:
    default_storage.save(f"artifacts/{SHA256}", ContentFile(b"half"))
    archive_save(SHA256, io.BytesIO(b"half and half"))
    with archive_open(SHA256) as content:
        assert content.read() == b"half and half"
    archive_save(SHA256, io.BytesIO(b"other content"))
    assert (folder / "artifacts" / SHA256).read_bytes() == b"half and half"
    assert files_below(folder) == [SHA256]


class Bucket(BaseHTTPRequestHandler):
    """An object store that forbids one object and breaks off in the middle of another."""

    def do_GET(self) -> None:
        """Answer a request."""
        is_forbidden = self.path.endswith("/forbidden")
        self.send_response(403 if is_forbidden else 200)
        self.send_header("content-length", "0" if is_forbidden else "100")
        self.end_headers()
        if not is_forbidden:
            self.wfile.write(b"beginning")

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


def test_faults_of_an_object_store_are_those_of_a_disk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with ThreadingHTTPServer(("127.0.0.1", 0), Bucket) as server:
        threading.Thread(target=server.serve_forever).start()
        url = f"s3://models?endpoint=http://127.0.0.1:{server.server_port}&region=us-east-1"
        storage: Any = storages.create_storage(dict(storage_settings(bucket_address(url), tmp_path)))
        with pytest.raises(OSError, match="the object store answers 403"):
            storage.open("forbidden")
        with storage.open("broken") as content, pytest.raises(OSError, match="the object store failed"):
            content.read()
        server.shutdown()
