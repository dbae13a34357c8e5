"""The correlation id: it links the log lines, records and messages of one request across processes."""

from __future__ import annotations

from contextvars import ContextVar

# Set when the handling of a request starts. Tasks inherit it from the task that created them.
correlation_id: ContextVar[str] = ContextVar("correlation_id", default="-")
