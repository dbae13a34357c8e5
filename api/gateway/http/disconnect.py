"""ASGI types, and cancelling work when the client disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeAlias

Scope: TypeAlias = dict[str, Any]
Message: TypeAlias = Mapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Mapping[str, Any]], Awaitable[None]]


class Disconnected(Exception):
    """The client closed the connection."""


async def cancel_on_disconnect(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Run ``work``, and cancel it in the same loop iteration in which the client disconnects.

    Raises Disconnected in that case; otherwise whatever ``work`` raises.
    """
    task = asyncio.ensure_future(work)
    is_disconnected = False

    async def watch() -> None:
        nonlocal is_disconnected
        while (await receive())["type"] != "http.disconnect":
            pass
        is_disconnected = True
        task.cancel()

    watcher = asyncio.ensure_future(watch())
    try:
        await task
    except asyncio.CancelledError:
        current = asyncio.current_task()
        if is_disconnected and not (current and current.cancelling()):
            raise Disconnected from None
        raise
    finally:
        watcher.cancel()
