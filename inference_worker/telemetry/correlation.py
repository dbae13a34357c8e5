"""The id that links log lines, records and messages of one request, in whatever process they are made."""

from __future__ import annotations

from contextvars import ContextVar

# Tasks inherit it from the one that made them; whoever begins with a request sets it.
correlation_id: ContextVar[str] = ContextVar("correlation_id", default="-")
