"""Where root starts the stack: what the account of Postgres may reach."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deploy.local.servers.accounts import database_account, let_pass, let_read

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def test_folders_above_can_be_gone_through_but_not_listed(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    (closed / "inner").mkdir(parents=True)
    closed.chmod(0o700)
    assert closed in let_pass(closed / "inner" / "data")
    assert closed.stat().st_mode & 0o777 == 0o701
    assert closed not in let_pass(closed / "inner" / "data")


def test_programs_become_readable_and_stay_programs(tmp_path: Path) -> None:
    tree = tmp_path / "bin"
    tree.mkdir(mode=0o700)
    for name, mode in (("program", 0o700), ("text", 0o600)):
        (tree / name).touch()
        (tree / name).chmod(mode)
    let_read([tree])
    modes = [path.stat().st_mode & 0o777 for path in (tree, tree / "program", tree / "text")]
    assert modes == [0o755, 0o755, 0o644]


@needs_root
def test_an_existing_data_folder_keeps_its_owner(tmp_path: Path) -> None:
    data = tmp_path / "postgres"
    data.mkdir()
    assert database_account(data) != (0, 0)
    os.chown(data, 12345, 12346)
    assert database_account(data) == (12345, 12346)


def test_anybody_else_runs_the_server_as_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert database_account(tmp_path) is None
