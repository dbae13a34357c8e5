"""Tenants and keys of a benchmark's stack."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tests.stacks import RunningStack

SECRET = re.compile(r"sk-cy-\S+")
# Every limit, each beyond what a benchmark can use.
LARGE_LIMITS: Sequence[str] = (
    *("--requests-per-minute", "1000000", "--tokens-per-minute", "1000000000"),
    *("--concurrent-requests", "100000", "--spend-per-day", "1000000", "--spend-per-month", "10000000"),
)


def create_tenant(stack: RunningStack, slug: str, limits: Sequence[str] = ()) -> str:
    """Create a tenant with a key, both with these limits, and return the key."""
    stack.manage("tenants", "create", slug, *limits)
    return create_key(stack, slug, "benchmark", limits)


def create_key(stack: RunningStack, slug: str, name: str, limits: Sequence[str] = ()) -> str:
    """Create a key of a tenant with these limits, and return it."""
    output = stack.manage("keys", "create", "--tenant", slug, "--name", name, *limits)
    match = SECRET.search(output)
    assert match is not None, output  # noqa: S101 - the command prints the key
    return match.group()


def set_prices(stack: RunningStack) -> None:
    """Give the stack's model prices, so that requests count towards the limits of spend."""
    stack.manage("models", "update", stack.model, "--prompt-price", "0.25", "--completion-price", "1.00")
