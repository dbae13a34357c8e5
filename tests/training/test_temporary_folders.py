"""Copies of tenants' files in temporary folders are deleted even if the process that made them is killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fork_server import ROOT
from training import temporary_folders
from training.temporary_folders import temporary_folder

PREFIX = "copy-"
HOLDER = """
import sys, time
from pathlib import Path
from training.temporary_folders import temporary_folder
with temporary_folder(Path(sys.argv[1]), sys.argv[2]) as folder:
    (folder / "file.jsonl").write_text("a tenant's data")
    print(folder, flush=True)
    time.sleep(600)
"""


def test_a_folder_is_private_and_deleted_afterwards(tmp_path: Path) -> None:
    root = tmp_path / "missing" / "root"
    with temporary_folder(root, PREFIX) as folder:
        (folder / "file.jsonl").write_text("data")
        assert folder.stat().st_mode & 0o077 == 0
    assert list(root.iterdir()) == []


def test_the_next_use_deletes_the_folder_of_a_killed_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(temporary_folders, "MIN_AGE_S", -1)
    (tmp_path / "ftjob-1").mkdir()
    argv = [sys.executable, "-c", HOLDER, str(tmp_path), PREFIX]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        held_folder = Path(process.stdout.readline().strip())
        with temporary_folder(tmp_path, PREFIX):
            assert (held_folder / "file.jsonl").exists(), "a living process holds it"
        process.kill()
    assert held_folder.exists()

    with temporary_folder(tmp_path, PREFIX) as folder:
        assert {path.name for path in tmp_path.iterdir()} == {folder.name, "ftjob-1"}


def test_a_folder_that_is_about_to_be_locked_stays(tmp_path: Path) -> None:
    new_folder = tmp_path / f"{PREFIX}new"
    new_folder.mkdir()
    with temporary_folder(tmp_path, PREFIX):
        assert new_folder.exists()
