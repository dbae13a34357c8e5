"""Random ids of jobs, events and checkpoints."""

from __future__ import annotations

import secrets
import string

ID_ALPHABET = string.ascii_letters + string.digits
ID_LENGTH = 24


def new_id(prefix: str) -> str:
    """Return a random id, such as ``ftjob-…`` for the prefix ``ftjob-``."""
    return prefix + "".join(secrets.choice(ID_ALPHABET) for _ in range(ID_LENGTH))
