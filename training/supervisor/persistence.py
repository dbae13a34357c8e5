"""Database access of an attempt: one operation per transaction, so that each can be repeated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Persist(Protocol):
    """Runs one operation on the database, repeatedly during an outage, as long as the lease allows."""

    def __call__(self, operation: Callable[[], T], /) -> T: ...


def run_once(operation: Callable[[], T], /) -> T:
    """Run the operation once, without repetition."""
    return operation()
