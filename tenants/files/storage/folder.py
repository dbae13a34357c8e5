"""The default storage of file contents, unless the settings name a bucket."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage

from tenants.files.storage.incoming import IncomingContent, IncomingFile


class FolderStorage(FileSystemStorage):
    """A folder whose files are complete, and survive a power failure once ``save`` has returned.

    A file gets its name when its content is on the disk; until then it is among the incoming files.
    """

    def _save(self, name: str, content: File[Any]) -> str:
        if isinstance(content, IncomingContent):  # complete
            return self._move(name, content)
        with IncomingFile(Path(settings.FILE_INCOMING_DIR), sys.maxsize) as incoming:
            for data in content.chunks():
                incoming.write(data)
            incoming.complete()
            with IncomingContent(incoming) as complete:
                return self._move(name, complete)

    def _move(self, name: str, content: IncomingContent) -> str:
        stored_name = str(super()._save(name, content))  # type: ignore[misc]  # missing in the stubs
        folder = Path(self.path(stored_name)).parent
        _sync_folder(folder)
        _sync_folder(folder.parent)  # the folder itself may be new
        return stored_name


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
