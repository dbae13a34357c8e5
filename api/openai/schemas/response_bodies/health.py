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


class Workers(Component):
    """The number of workers in each state."""

    starting: Count
    loading: Count
    ready: Count
    draining: Count
    failed: Count


class Components(ResponseBody):
    """All dependencies of the gateway."""

    database: Component
    redis: Component
    relay: Component
    workers: Workers


class ReadyReport(ResponseBody):
    """The readiness to serve requests, with the state of each dependency."""

    status: Literal["ready", "not ready"]
    components: Components
