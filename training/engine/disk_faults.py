"""Faults of the work folder: its disk is full, or it can't be written."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
UNWRITABLE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.EEXIST, errno.ENOTDIR})


@dataclass(frozen=True)
class Diagnosis:
    """Code, cause and remedy. ``is_transient``: another attempt may succeed."""

    code: str
    message: str
    next_step: str
    is_transient: bool


def disk_fault(number: int | None) -> Diagnosis | None:
    """Return the diagnosis of an error number, None if it is not one of a full or unwritable disk."""
    if number in DISK_FULL:
        return Diagnosis(
            "disk_full",
            "The disk of the work folder is full or its quota is used up. "
            "The last complete checkpoint is kept.",
            "Free space on the training worker, then resume the job.",
            True,
        )
    return unwritable(os.strerror(number)) if number in UNWRITABLE else None


def unwritable(reason: str) -> Diagnosis:
    """Return the diagnosis of a work folder that can't be written."""
    return Diagnosis(
        "checkpoint_unwritable",
        f"The work folder can't be written: {reason}.",
        "Check permissions and health of the training worker's work folder, then resume the job.",
        True,
    )
