"""Small files of the local stack that hold secrets or settings: private, and never half-written."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

PRIVATE = 0o600


def write_private(path: Path, text: str) -> None:
    """Write the file with mode 0600 and put it in place whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def secret(path: Path) -> str:
    """The secret kept in the file; made there the first time (43 letters and digits, 256 bits)."""
    if path.exists():
        kept = path.read_text(encoding="utf-8").strip()
        if kept:
            path.chmod(PRIVATE)
            return kept
    made = secrets.token_urlsafe(32)
    write_private(path, made + "\n")
    return made


def write_env(path: Path, values: Mapping[str, str]) -> None:
    """Write ``NAME=value`` lines that a shell can source and ``read_env`` reads back."""
    for name, value in values.items():
        if "\n" in value or "'" in value:
            raise ValueError(f"{name} can't be written to an environment file")
    write_private(path, "".join(f"{name}='{value}'\n" for name, value in values.items()))


def read_env(path: Path) -> dict[str, str]:
    """The values that ``write_env`` wrote; empty without the file."""
    if not path.exists():
        return {}
    values = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        name, separator, value = line.partition("=")
        if separator and not name.startswith("#"):
            values[name.strip()] = value.strip().removeprefix("'").removesuffix("'")
    return values
