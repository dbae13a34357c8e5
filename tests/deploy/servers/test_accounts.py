"""The account of the embedded Postgres when root starts the stack."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deploy.local.servers.accounts import allow_reading, allow_traversal, database_account

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def test_parent_folders_become_traversable_but_not_listable(tmp_path: Path) -> None:
    closed_folder = tmp_path / "closed"
    (closed_folder / "inner").mkdir(parents=True)
    closed_folder.chmod(0o700)
    assert closed_folder in allow_traversal(closed_folder / "inner" / "data")
    assert closed_folder.stat().st_mode & 0o777 == 0o701
    assert closed_folder not in allow_traversal(closed_folder / "inner" / "data")


def test_programs_become_readable_and_stay_executable(tmp_path: Path) -> None:
    tree = tmp_path / "bin"
    tree.mkdir(mode=0o700)
    for name, mode in (("program", 0o700), ("text", 0o600)):
        (tree / name).touch()
        (tree / name).chmod(mode)
    allow_reading([tree])
    modes = [path.stat().st_mode & 0o777 for path in (tree, tree / "program", tree / "text")]
    assert modes == [0o755, 0o755, 0o644]


@needs_root
def test_an_existing_data_folder_keeps_its_owner(tmp_path: Path) -> None:
    data = tmp_path / "postgres"
    data.mkdir()
    assert database_account(data) != (0, 0)
    os.chown(data, 12345, 12346)
    assert database_account(data) == (12345, 12346)


def test_other_users_than_root_run_the_server_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert database_account(tmp_path) is None
