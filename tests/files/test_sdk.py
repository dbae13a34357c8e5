"""Files through the unmodified SDK and a real server."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.files.conftest import Account, FileServer

CHAT_LINE = b'{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}\n'


@pytest.mark.honours("files", "file", "purpose")
def test_a_file_makes_the_round_trip(account: Account, server: FileServer, tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000 + b"\r\n--boundary\r\n"
    path = tmp_path / "data.bin"
    path.write_bytes(content)
    files = account.client.files
    with path.open("rb") as source:
        new_file = files.create(file=source, purpose="user_data")
    assert (new_file.filename, new_file.bytes, new_file.purpose) == ("data.bin", len(content), "user_data")
    assert (new_file.object, new_file.status) == ("file", "processed")
    assert new_file.model_extra is not None
    assert new_file.model_extra["sha256"] == hashlib.sha256(content).hexdigest()
    assert files.retrieve(new_file.id) == new_file
    assert files.content(new_file.id).read() == content
    assert files.delete(new_file.id).deleted
    with pytest.raises(openai.NotFoundError) as excinfo:
        files.retrieve(new_file.id)
    assert excinfo.value.code == "file_not_found"
    assert server.contents() == []


NAMES = {
    "名字 – ümlaut 👩‍💻.jsonl": "名字 – ümlaut 👩‍💻.jsonl",
    "quo\"te's.txt": "quo\"te's.txt",
    "../../etc/passwd": "passwd",
    "C:\\temp\\a.txt": "a.txt",
    "..": "upload",
    "line\r\nX-Evil: 1.txt": "line%0D%0AX-Evil: 1.txt",
    "semi;colon=; filename=b.txt": "semi;colon=; filename=b.txt",
    "back\\slash\\": "upload",
    "\u202egpj.exe": "_gpj.exe",
    "<script>alert(1)</script>": "script>",
}


def test_names_of_files_are_kept_without_folders_and_control_characters(account: Account) -> None:
    for client_name, stored_name in NAMES.items():
        new_file = account.client.files.create(file=(client_name, b"content"), purpose="batch")
        assert new_file.filename == stored_name
        download = account.client.files.with_raw_response.content(new_file.id)
        assert download.content == b"content"
        assert download.headers["content-type"] == "application/octet-stream"
        assert download.headers["x-content-type-options"] == "nosniff"
        assert download.headers["content-disposition"].startswith("attachment; filename")
        assert "x-evil" not in download.headers


def test_pages_of_files(account: Account) -> None:
    files = account.client.files
    ids = [files.create(file=(f"{n}.txt", b"x"), purpose="user_data").id for n in range(5)]
    files.create(file=("other.txt", b"x"), purpose="batch")
    newest_first = [file.id for file in files.list(purpose="user_data", limit=2)]
    assert newest_first == ids[::-1], "the SDK follows has_more and last_id"
    assert [file.id for file in files.list(purpose="user_data", order="asc", limit=3)] == ids
    assert len(list(files.list())) == 6
    page = files.list(purpose="user_data", order="asc", limit=2, after=ids[1])
    assert [file.id for file in page.data] == ids[2:4]
    assert page.has_more
    with pytest.raises(openai.BadRequestError) as excinfo:
        files.list(after="file-unknown")
    assert (excinfo.value.code, excinfo.value.param) == ("invalid_value", "after")


@pytest.mark.honours("files", "expires_after")
def test_a_file_can_expire(account: Account) -> None:
    files = account.client.files
    new_file = files.create(
        file=("a.txt", b"x"),
        purpose="user_data",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    assert new_file.expires_at == new_file.created_at + 3600
    for seconds, code in ((3599, "integer_below_min_value"), (2592001, "integer_above_max_value")):
        with pytest.raises(openai.BadRequestError) as excinfo:
            files.create(
                file=("a.txt", b"x"),
                purpose="user_data",
                expires_after={"anchor": "created_at", "seconds": seconds},
            )
        assert (excinfo.value.code, excinfo.value.param) == (code, "expires_after[seconds]")


@pytest.mark.case("training.14")
@pytest.mark.criterion("2.1")
def test_a_bad_line_is_found_at_upload_and_nothing_is_stored(account: Account, server: FileServer) -> None:
    lines = [CHAT_LINE] * 600
    lines[499] = b'{"messages":[{"role":"user","content":"a"},{"role":"asistant","content":"b"}]}\n'
    with pytest.raises(openai.BadRequestError) as excinfo:
        account.client.files.create(file=("train.jsonl", b"".join(lines)), purpose="fine-tune")
    error = excinfo.value
    assert (error.code, error.param) == ("invalid_training_file", "file")
    for text in ("line 500", "messages[1].role", "asistant", "assistant"):
        assert text in error.message
    assert server.contents() == []
    assert list(account.client.files.list()) == []


def test_a_good_dataset_is_stored_with_its_report(account: Account) -> None:
    new_file = account.client.files.create(file=("train.jsonl", CHAT_LINE * 20), purpose="fine-tune")
    assert new_file.model_extra is not None
    report = new_file.model_extra["dataset_report"]
    assert (report["format"], report["examples"], report["lines"]) == ("chat", 20, 20)
    assert not any(name.startswith("fault") for name in report)


def test_other_purposes_are_refused_by_name(account: Account) -> None:
    purposes: tuple[Any, ...] = ("assistants", "vision", "fine-tune-results", "", "fine-tune\0")
    for purpose in purposes:
        with pytest.raises(openai.BadRequestError) as excinfo:
            account.client.files.create(file=("a.txt", b"x"), purpose=purpose)
        assert (excinfo.value.code, excinfo.value.param) == ("invalid_value", "purpose")
        assert "'fine-tune'" in excinfo.value.message
