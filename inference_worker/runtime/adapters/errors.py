"""Reasons why an adapter can't be used for a request."""

from __future__ import annotations

from inference_worker.protocol.messages import FailureKind


class AdapterUnavailableError(Exception):
    """The adapter of a request can't be used. The text is for logs; clients get a general error.

    ``kind``: REFUSED if another worker may succeed, ENGINE if no worker will.
    """

    kind = FailureKind.REFUSED


class AdapterRejectedError(AdapterUnavailableError):
    """The engine can't apply this adapter."""

    kind = FailureKind.ENGINE
