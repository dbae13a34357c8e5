"""Sessions in the database, which is asked only for keys of the form that Django creates."""

from __future__ import annotations

from django.contrib.sessions.backends.base import VALID_KEY_CHARS
from django.contrib.sessions.backends.db import SessionStore as DatabaseSessionStore


class SessionStore(DatabaseSessionStore):
    """A session. A key with other characters, such as NUL, which Postgres refuses, is that of no session."""

    def __init__(self, session_key: str | None = None) -> None:
        is_possible = session_key is not None and set(session_key) <= set(VALID_KEY_CHARS)
        super().__init__(session_key if is_possible else None)
