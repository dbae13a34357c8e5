"""Promises of time. Tests measure again what was too slow: a busy machine lengthens any duration."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from contextlib import suppress
from inspect import iscoroutinefunction
from typing import Any, TypeVar, cast

ATTEMPTS = 3
T = TypeVar("T", bound=Callable[..., Awaitable[None] | None])


class TooSlowError(AssertionError):
    """A duration is over its limit."""


def assert_within(duration_s: float, limit_s: float) -> None:
    """Raise TooSlowError if a duration is not below its limit."""
    if not duration_s < limit_s:
        raise TooSlowError(f"it took {duration_s:.2f} s instead of less than {limit_s:g} s")


def measured_again(test: T) -> T:
    """Repeat a test that was too slow, with the same fixtures. The last attempt counts."""

    @functools.wraps(test)
    def call(**fixtures: Any) -> None:
        for _ in range(ATTEMPTS - 1):
            with suppress(TooSlowError):
                test(**fixtures)
                return
        test(**fixtures)

    @functools.wraps(test)
    async def call_async(**fixtures: Any) -> None:
        for _ in range(ATTEMPTS - 1):
            with suppress(TooSlowError):
                await cast("Awaitable[None]", test(**fixtures))
                return
        await cast("Awaitable[None]", test(**fixtures))

    return cast("T", call_async if iscoroutinefunction(test) else call)
