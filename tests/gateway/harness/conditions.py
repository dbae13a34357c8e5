"""Waiting for conditions, and for a gateway to apply a change."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from tests.gateway.harness.threads import in_thread
from tests.patience import PATIENCE_S

if TYPE_CHECKING:  # pytest imports this module before Django is set up
    from api.gateway.app import Gateway


async def eventually(condition: Callable[[], bool | Awaitable[bool]], timeout_s: float = PATIENCE_S) -> None:
    """Wait until the condition holds. Raises TimeoutError."""
    async with asyncio.timeout(timeout_s):
        while not await _holds(condition):
            await asyncio.sleep(0.005)


async def _holds(condition: Callable[[], bool | Awaitable[bool]]) -> bool:
    result = condition()
    return result if isinstance(result, bool) else await result


async def apply_change(gateway: Gateway, key: str, change: Callable[[], object]) -> None:
    """Change a key or its tenant in a thread, and wait until the gateway no longer uses the old values.

    The message of a change arrives after the change, so the next request could still find the old limits.
    """
    prefix = key.split("-")[2]
    before = await gateway.find_principal(prefix)
    await in_thread(change)

    async def is_applied() -> bool:
        return await gateway.find_principal(prefix) != before

    await eventually(is_applied)
