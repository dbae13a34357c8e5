"""What the worker needs of an engine: an ASGI application that speaks OpenAI's routes, and its load."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeAlias

from inference_worker.protocol.messages import Operation
from inference_worker.runtime.calls.fast_path import EmptyPieces
from inference_worker.runtime.calls.meter import CallMeter

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
AsgiApplication: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]
ReportStage: TypeAlias = Callable[[str], None]


class EngineStartError(Exception):
    """The engine can't start; the text names the cause and the remedy."""


class Engine(Protocol):
    """vLLM in the process, or a remote OpenAI-speaking server: the same call."""

    max_model_len: int
    operations: tuple[Operation, ...]
    short_ways: Mapping[Operation, EmptyPieces]  # where a sink.TextFastPath may take streams of plain text

    @property
    def app(self) -> AsgiApplication:
        """The application that takes the requests."""
        ...

    @property
    def is_dead(self) -> bool:
        """Whether the engine has ended, so that no request on it can succeed."""
        ...

    def running(self) -> int:
        """Requests inside the engine now, by the engine's own count."""
        ...

    def count_partial(self, request_id: str, meter: CallMeter) -> None:
        """Put what was made so far for an unfinished call on its meter, as far as the engine can tell."""
        ...

    async def failed(self) -> str:
        """Returns, with the cause, when the engine can't serve any more."""
        ...


EngineContext: TypeAlias = AbstractAsyncContextManager[Engine]
