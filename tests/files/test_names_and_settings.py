"""Names of files, the setting of the storage, and incoming files without a database."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from cyllm_site import checks
from cyllm_site.checks import check_file_storage
from tenants.files.filenames import clean_filename
from tenants.files.settings import bucket_address, storage_settings
from tenants.files.storage.incoming import FileTooLargeError, IncomingFile, incoming_sweep


def test_an_incoming_file_is_hashed_limited_and_deleted(tmp_path: Path) -> None:
    with IncomingFile(tmp_path, 6) as file:
        file.write(b"abc")
        assert file.path.stat().st_mode & 0o777 == 0o600
        with pytest.raises(FileTooLargeError):
            file.write(b"defg")
        file.write(b"def")
        file.complete()
        assert file.path.read_bytes() == b"abcdef"
        assert file.sha256 == "bef57ec7f53a6d40beb640a780a639c83bc29ac8a9816f1fc6c5c6dcd93c4721"
    assert list(tmp_path.iterdir()) == []


def test_a_new_incoming_file_is_not_swept(tmp_path: Path) -> None:
    """It is created a moment before it is locked."""
    path = tmp_path / "incoming-new"
    path.touch()
    assert incoming_sweep(tmp_path) == 0
    os.utime(path, (time.time() - 120,) * 2)
    assert incoming_sweep(tmp_path) == 1


@pytest.mark.parametrize(
    ("text", "name"),
    [("a/b\\c.txt", "c.txt"), ("\x00\x1b[31m", "__[31m"), (" . ", "upload"), ("a" * 255, "a" * 255)],
)
def test_names_are_cleaned(text: str, name: str) -> None:
    assert clean_filename(text) == name


def test_a_long_name_is_refused() -> None:
    with pytest.raises(ValueError, match="256"):
        clean_filename("a" * 256)


def test_a_bucket_requires_its_library(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.CYLLM = settings.CYLLM.model_copy(update={"file_storage_url": "s3://models"})
    assert check_file_storage() == []
    monkeypatch.setattr(checks, "find_spec", lambda _: None)
    (error,) = check_file_storage()
    assert error.id == "cyllm.E010"
    assert "boto3" in error.msg


def test_the_storage_is_a_folder_or_a_bucket() -> None:
    assert bucket_address("") is None
    address = bucket_address("s3://models/cy/llm?endpoint=https://minio:9000&region=eu")
    settings = storage_settings(address, Path("unused"))
    assert settings["BACKEND"] == "tenants.files.storage.bucket.BucketStorage"
    assert settings["OPTIONS"] == {
        "bucket_name": "models",
        "location": "cy/llm",
        "default_acl": None,
        "file_overwrite": True,
        "endpoint_url": "https://minio:9000",
        "region_name": "eu",
    }
    for url in ("http://x/y", "s3://", "s3://key:secret@bucket", "s3://b?acl=x", "s3://b?endpoint=minio"):
        with pytest.raises(ValueError, match=r"."):
            bucket_address(url)
