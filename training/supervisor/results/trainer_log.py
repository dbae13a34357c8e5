"""The last lines of a trainer's log, stored with its attempt for the members of the tenant."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Sequence

from inference_worker.telemetry.masking import mask_folders, mask_secrets
from training.choices import AttemptOutcome
from training.models import JobAttempt

INTERVAL_S = 5.0
_CONTROL_CHARACTERS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


class TrainerLog:
    """Stores the end of a trainer's log while it grows, at most every ``INTERVAL_S``."""

    def __init__(self, token: uuid.UUID) -> None:
        self._token = token
        self._lines: list[str] = []
        self._due_at = 0.0

    def store(self, lines: Sequence[str], *, is_last: bool = False) -> None:
        """Store the lines if they are new and it is time. Without effect if the attempt has ended."""
        if list(lines) == self._lines or (time.monotonic() < self._due_at and not is_last):
            return
        text = "\n".join(readable_line(line) for line in lines)
        JobAttempt.objects.filter(id=self._token, outcome=AttemptOutcome.RUNNING).update(log=text)
        self._lines, self._due_at = list(lines), time.monotonic() + INTERVAL_S


def readable_line(line: str) -> str:
    """Return a line without secrets, control characters and the folders of the training worker.

    A progress bar overwrites its own line; only its last state remains.
    """
    text = line.rstrip("\r").rpartition("\r")[2]
    return mask_folders(mask_secrets(_CONTROL_CHARACTERS.sub("", text)))
