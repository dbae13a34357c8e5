"""Ends work whose client has left."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from api.gateway.asgi import ClientGone, Receive


async def until_gone(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Run ``work``, and cancel it in the same turn in which the client turns out to be gone.

    Raises ClientGone then; otherwise what ``work`` raises.
    """
    task = asyncio.ensure_future(work)
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        task.cancel()

    watcher = asyncio.ensure_future(watch())
    try:
        await task
    except asyncio.CancelledError:
        current = asyncio.current_task()
        if gone and not (current and current.cancelling()):
            raise ClientGone from None
        raise
    finally:
        watcher.cancel()
