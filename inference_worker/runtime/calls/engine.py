"""The interface of an engine: an ASGI application with OpenAI's routes, its load and its health."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeAlias

from inference_worker.protocol.messages import AdapterRef, Operation
from inference_worker.runtime.calls.fast_path import EmptyChunks
from inference_worker.runtime.calls.meter import CallMeter

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
AsgiApplication: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]
ReportStage: TypeAlias = Callable[[str], None]


class EngineFailedError(Exception):
    """The engine can't start, or has failed. The text names the cause and, at the start, the remedy."""


class Engine(Protocol):
    """vLLM in this process, or a remote server with OpenAI's API.

    ``max_model_len``: the model's context in tokens, 0 if unknown. ``sampling_defaults``: the model's own
    sampling parameters by name, as far as they are known. ``template_variables``: the variables of the
    chat template, None if unknown. ``template_*_tokens``: as in Heartbeat. ``fast_paths``: operations whose
    plain text streams may take the fast path (``TextFastPath``). ``max_lora_rank``: the highest rank of
    adapters that it loads on demand, 0 if it loads none. ``max_num_seqs``: the most sequences of a batch,
    0 if unknown. ``dtype``: data type of the computation, empty if unknown.
    """

    max_model_len: int
    operations: tuple[Operation, ...]
    sampling_defaults: Mapping[str, float]
    template_variables: tuple[str, ...] | None
    template_tokens: int | None
    template_option_tokens: int | None
    fast_paths: Mapping[Operation, EmptyChunks]
    max_lora_rank: int
    max_num_seqs: int = 0
    dtype: str

    @property
    def loaded_adapters(self) -> tuple[str, ...]:
        """Digests of the adapters that were loaded on demand, the most recently used first."""
        ...

    def adapter_model(self, ref: AdapterRef, timeout_s: float) -> AbstractAsyncContextManager[str]:
        """Load an adapter, and keep it until the context ends. Returns its model name for requests.

        The context raises AdapterUnavailableError.
        """
        ...

    def remove_adapter(self, sha256: str) -> None:
        """Unload an adapter once no request uses it, and delete the worker's copy."""
        ...

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

    @property
    def kv_cache_use(self) -> float | None:
        """The used part of the key-value cache, 0 to 1; None if unknown."""
        ...

    def count_partial(self, request_id: str, meter: CallMeter) -> None:
        """Add what the engine has generated so far for an unfinished request to its meter."""
        ...

    async def wait_for_failure(self) -> str:
        """Wait until the engine can't serve any more and return the cause."""
        ...


EngineContext: TypeAlias = AbstractAsyncContextManager[Engine]
