"""Decoding and validation of JSON bodies, in a thread if they are large."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from api.gateway.capacity.large_bodies import LargeBodies
from api.openai.validation.json_body import parse_body
from api.openai.validation.json_shape import LARGE_BYTES

T = TypeVar("T")


async def decode_request(
    body: bytes, tenant_id: str, large_bodies: LargeBodies, validate: Callable[[Any], T]
) -> T:
    """Return the validated value of a body, whose shape was checked on arrival if it is large.

    Raises ApiError, also that of ``validate``.
    """
    if len(body) <= LARGE_BYTES:
        return validate(parse_body(body))
    return await large_bodies.run(tenant_id, lambda: validate(parse_body(body, is_checked=True)))
