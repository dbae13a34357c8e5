"""Response bodies of the health endpoints."""

from __future__ import annotations

from typing import Literal

from api.openai.schemas.response_bodies.base import Count, ResponseBody


class LiveReport(ResponseBody):
    """The process is running."""

    status: Literal["live"]


class Component(ResponseBody):
    """The availability of a dependency of the gateway."""

    status: Literal["up", "down"]


class WatchedComponent(ResponseBody):
    """A component that isn't needed to serve requests. ``unknown``: something it depends on is down."""

    status: Literal["up", "degraded", "down", "unknown"]


class Workers(Component):
    """The number of workers in each state."""

    starting: Count
    loading: Count
    ready: Count
    draining: Count
    failed: Count


class Components(ResponseBody):
    """The dependencies of the gateway, and other components that an operator has to watch.

    ``models``: degraded if no worker serves some of them, down if none is served. ``queue``: down if facts
    have waited for the ledger for a minute. ``disk``: down if little space is left for files.
    """

    database: Component
    redis: Component
    relay: Component
    workers: Workers
    models: WatchedComponent
    queue: WatchedComponent
    disk: WatchedComponent


class ReadyReport(ResponseBody):
    """The readiness to serve requests, with the state of each dependency."""

    status: Literal["ready", "not ready"]
    components: Components
