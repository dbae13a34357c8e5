"""Names of uploaded files: a display name without folders and control characters."""

from __future__ import annotations

MAX_LENGTH = 255
DEFAULT = "upload"
# Scripts and emoji need the joiners.
_JOINERS = "\u200c\u200d"


def clean_filename(text: str) -> str:
    """Return the last part of a path, on any system. Control characters become underscores.

    Raises ValueError if the name is longer than 255 characters.
    """
    name = text.replace("\\", "/").rpartition("/")[2]
    name = "".join(char if char.isprintable() or char in _JOINERS else "_" for char in name).strip()
    if len(name) > MAX_LENGTH:
        raise ValueError(f"the file name has {len(name)} characters, more than {MAX_LENGTH}")
    return DEFAULT if name in ("", ".", "..") else name
