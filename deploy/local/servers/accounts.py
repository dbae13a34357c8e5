"""The account that runs the embedded Postgres when root starts the stack, because Postgres refuses root."""

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
    """Raised if no account can run Postgres; the text names the remedy."""


def database_account(data_dir: Path) -> tuple[int, int] | None:
    """Return uid and gid for the server, or None to run it as the current user.

    An existing data folder keeps its owner, even if a better account is created later.
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
        "Postgres refuses to run as root, and no other account is available. Create one "
        f"(useradd --system {CANDIDATES[0]}), start CY-LLM as another user, or set CYLLM_DATABASE_URL."
    )


def allow_traversal(path: Path) -> list[Path]:
    """Let other accounts traverse, but not list, the folders above ``path``; return the changed folders."""
    changes = []
    for folder in path.resolve().parents:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(mode | stat.S_IXOTH)
            changes.append(folder)
    return changes


def allow_reading(trees: Iterable[Path]) -> None:
    """Let other accounts read and execute the files below the folders, whatever the umask was."""
    for tree in trees:
        for path in (tree, *tree.rglob("*")):
            mode = path.stat().st_mode
            open_mode = mode | READ | (TRAVERSE if mode & stat.S_IXUSR else 0)
            if open_mode != mode:
                path.chmod(open_mode)
