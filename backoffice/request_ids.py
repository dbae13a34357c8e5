"""Id of the HTTP request or the command that is being handled; administrative changes record it."""

from __future__ import annotations

from contextvars import ContextVar

# "" outside of requests and commands, as in periodic tasks.
request_id: ContextVar[str] = ContextVar("request_id", default="")
