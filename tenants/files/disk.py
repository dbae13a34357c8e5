"""The disk on which files are received."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Disk:
    """The disk of a folder, which may not exist yet. It is full with less than ``min_free_bytes``."""

    folder: Path
    min_free_bytes: int

    def free_bytes(self) -> int:
        """Return the free space. Raises OSError."""
        folder = next(path for path in (self.folder, *self.folder.parents) if path.exists())
        return shutil.disk_usage(folder).free

    def has_room(self) -> bool:
        """Return whether there is room for files. Raises OSError."""
        return self.free_bytes() >= self.min_free_bytes
