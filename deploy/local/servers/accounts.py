"""The account of the embedded Postgres where the stack is started by root: Postgres refuses root."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterable
from pathlib import Path

CANDIDATES = ("postgres", "nobody")
READ = stat.S_IRGRP | stat.S_IROTH
TRAVERSE = stat.S_IXGRP | stat.S_IXOTH


class AccountError(Exception):
    """There is no account to run Postgres as; the text names the remedy."""


def database_account(data_dir: Path) -> tuple[int, int] | None:
    """User and group for the server, None to run it as oneself.

    An existing data folder keeps its owner, so that an account that appears later changes nothing.
    Raises AccountError.
    """
    if os.geteuid() != 0:
        return None
    if data_dir.exists() and data_dir.stat().st_uid != 0:
        owner = data_dir.stat()
        return owner.st_uid, owner.st_gid
    for name in CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return entry.pw_uid, entry.pw_gid
    raise AccountError(
        "Postgres does not run as root, and there is no account to run it as: add one (useradd --system "
        f"{CANDIDATES[0]}), start this as another user, or set CYLLM_DATABASE_URL"
    )


def let_pass(path: Path) -> list[Path]:
    """Let other accounts go through the folders above ``path`` (not list them); returns the changed."""
    changed = []
    for folder in path.resolve().parents:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(mode | stat.S_IXOTH)
            changed.append(folder)
    return changed


def let_read(trees: Iterable[Path]) -> None:
    """Let other accounts read and run what is below the folders, as an unusual umask may prevent it."""
    for tree in trees:
        for path in (tree, *tree.rglob("*")):
            mode = path.stat().st_mode
            wanted = mode | READ | (TRAVERSE if mode & stat.S_IXUSR else 0)
            if wanted != mode:
                path.chmod(wanted)
