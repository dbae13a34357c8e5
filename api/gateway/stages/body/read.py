"""Read a request: receive, decode and validate its body."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from api.gateway.capacity.process_capacity import Capacity
from api.gateway.http.disconnect import Receive
from api.gateway.http.exchange import Exchange
from api.gateway.settings import Limits
from api.gateway.stages.body.client_time import ClientTime
from api.gateway.stages.body.decode import decode_request
from api.gateway.stages.body.model_name import noting_model
from api.gateway.stages.body.receive import receive_request

T = TypeVar("T")


async def read_request(
    exchange: Exchange, receive: Receive, limits: Limits, capacity: Capacity, validate: Callable[[Any], T]
) -> tuple[T, int]:
    """Return the validated request and the size of its decoded body in bytes.

    The exchange then holds the body's bytes and a request slot. Raises ApiError, Disconnected.
    """
    tenant_id, large_bodies = exchange.tenant_id, capacity.large_bodies
    client = ClientTime(receive, limits.client_body_timeout_s)
    async with large_bodies.slot(tenant_id) as slot:
        body = await receive_request(exchange, client, limits.max_body_bytes, capacity, slot)
        value = await decode_request(body, tenant_id, large_bodies, noting_model(exchange, validate))
        return value, len(body)
