"""Database sessions that never look up a malformed key."""

from __future__ import annotations

from django.contrib.sessions.backends.base import VALID_KEY_CHARS
from django.contrib.sessions.backends.db import SessionStore as DatabaseSessionStore


class SessionStore(DatabaseSessionStore):
    """A session. A malformed key counts as no key: Postgres rejects some characters, such as NUL."""

    def __init__(self, session_key: str | None = None) -> None:
        is_well_formed = session_key is not None and set(session_key) <= set(VALID_KEY_CHARS)
        super().__init__(session_key if is_well_formed else None)
