"""Running gateways, with changed limits and capacity."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

from api.gateway.settings import Limits
from inference_worker.client.interface import EngineClient
from tests.gateway.harness.conditions import eventually

if TYPE_CHECKING:  # conftest.py is imported before Django is set up
    from api.gateway.app import Gateway
    from api.gateway.capacity.process_capacity import Capacity

SECRET = "a secret that is only used by these tests"


@asynccontextmanager
async def running_gateway(redis_url: str, client: EngineClient, limits: Limits) -> AsyncIterator[Gateway]:
    """Run a gateway process."""
    from api.gateway.process import gateway_process

    async with gateway_process(redis_url=redis_url, secret=SECRET, limits=limits, client=client) as gateway:
        yield gateway


def with_capacity(gateway: Gateway, **changes: Any) -> Gateway:
    """Return the gateway with other bounds of capacity."""
    return _rebuilt(gateway, capacity=replace(gateway.capacity, **changes))


def with_limits(gateway: Gateway, **changes: Any) -> Gateway:
    """Return the gateway with other limits; its capacity is unchanged."""
    return _rebuilt(gateway, limits=gateway.limits.model_copy(update=changes))


def _rebuilt(gateway: Gateway, *, capacity: Capacity | None = None, limits: Limits | None = None) -> Gateway:
    """Return the gateway with another capacity or other limits in all its frozen components.

    Components that hold state, such as the event logs, are shared with the first gateway.
    """
    rebuilt: dict[int, Any] = {id(gateway.capacity): capacity, id(gateway.limits): limits}
    rebuilt = {key: value for key, value in rebuilt.items() if value is not None}

    def rebuild(component: Any) -> Any:
        if id(component) not in rebuilt and is_dataclass(component) and not isinstance(component, type):
            values = {field.name: getattr(component, field.name) for field in fields(component) if field.init}
            changes = {name: new for name, old in values.items() if (new := rebuild(old)) is not old}
            rebuilt[id(component)] = replace(component, **changes) if changes else component
        return rebuilt.get(id(component), component)

    result: Gateway = rebuild(gateway)
    return result


def detached_count(gateway: Gateway) -> int:
    """Return the number of detached requests that are running."""
    return gateway.endpoints.engine.detached_requests.open_count


async def until_settled(gateway: Gateway) -> None:
    """Wait until no detached request is running and every record has been written."""
    await eventually(lambda: not detached_count(gateway) and not gateway.recorder.backlog)
