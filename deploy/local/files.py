"""Private files of the local stack, written atomically."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

PRIVATE = 0o600


def write_private(path: Path, text: str) -> None:
    """Write the file atomically with mode 0600."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def load_or_create_secret(path: Path) -> str:
    """Return the secret in the file; create one of 256 bits (43 URL-safe characters) if it has none."""
    if path.exists():
        secret = path.read_text(encoding="utf-8").strip()
        if secret:
            path.chmod(PRIVATE)
            return secret
    secret = secrets.token_urlsafe(32)
    write_private(path, secret + "\n")
    return secret


def write_env(path: Path, values: Mapping[str, str]) -> None:
    """Write ``NAME=value`` lines for shells and ``read_env``. Raises ValueError for quotes and newlines."""
    for name, value in values.items():
        if "\n" in value or "'" in value:
            raise ValueError(f"{name} can't be written to an environment file")
    write_private(path, "".join(f"{name}='{value}'\n" for name, value in values.items()))


def read_env(path: Path) -> dict[str, str]:
    """Return the values that ``write_env`` wrote; empty if the file is missing."""
    if not path.exists():
        return {}
    values = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        name, separator, value = line.partition("=")
        if separator and not name.startswith("#"):
            values[name.strip()] = value.strip().removeprefix("'").removesuffix("'")
    return values
