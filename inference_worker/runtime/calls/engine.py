"""The interface of an engine: an ASGI application with OpenAI's routes, its load and its health."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeAlias

from inference_worker.protocol.messages import Operation
from inference_worker.runtime.calls.fast_path import EmptyChunks
from inference_worker.runtime.calls.meter import CallMeter

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
AsgiApplication: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]
ReportStage: TypeAlias = Callable[[str], None]


class EngineStartError(Exception):
    """The engine can't start. The text names the cause and the remedy."""


class Engine(Protocol):
    """vLLM in this process, or a remote server with OpenAI's API.

    ``max_model_len``: the model's context in tokens, 0 if unknown. ``fast_paths``: operations whose plain
    text streams may take the fast path (``TextFastPath``).
    """

    max_model_len: int
    operations: tuple[Operation, ...]
    fast_paths: Mapping[Operation, EmptyChunks]

    @property
    def is_dead(self) -> bool:
        """True if no further request can succeed."""
        ...

    async def app(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request: an ASGI application."""
        ...

    @property
    def running_requests(self) -> int:
        """Requests inside the engine, by its own count."""
        ...

    def count_partial(self, request_id: str, meter: CallMeter) -> None:
        """Add what the engine has generated so far for an unfinished request to its meter."""
        ...

    async def wait_for_failure(self) -> str:
        """Wait until the engine can't serve any more and return the cause."""
        ...


EngineContext: TypeAlias = AbstractAsyncContextManager[Engine]
