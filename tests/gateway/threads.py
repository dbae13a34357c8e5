"""Runs ORM code beside the event loop and leaves no connection behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from django.db import connections

T = TypeVar("T")


async def in_thread(work: Callable[[], T]) -> T:
    """The result of ``work``, from a thread that closes its connections."""

    def run() -> T:
        try:
            return work()
        finally:
            connections.close_all()

    return await asyncio.to_thread(run)
