"""Calls of a training worker to inference workers, in an event loop of its own thread."""

from __future__ import annotations

import asyncio
import json
import threading
import uuid
from collections.abc import Coroutine, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from inference_worker.client.interface import Call, ClientError, Lost
from inference_worker.client.relay_client import RelayClient
from inference_worker.client.routing import is_usable
from inference_worker.protocol.faults import AdapterFault
from inference_worker.protocol.messages import AdapterRef, Failed, FailureKind, Finished, Heartbeat, Operation
from inference_worker.transport.subscriber import Subscriber

T = TypeVar("T")
POLL_S = 0.5
CALL_TIMEOUT_S = 300.0


class EngineCallError(Exception):
    """A worker did not complete a call. ``is_transient``: another attempt may succeed."""

    def __init__(self, reason: str, *, is_transient: bool) -> None:
        super().__init__(reason)
        self.is_transient = is_transient


class Check(Protocol):
    """Called at least each second of a wait; raises to interrupt it."""

    def __call__(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Generation:
    """Generated token ids and their log-probs."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]


class EngineSession:
    """A relay client, which threads without an event loop can use."""

    def __init__(self, redis_url: str, check: Check) -> None:
        self._check = check
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="engine-session", daemon=True)
        self._subscriber = Subscriber(redis_url)
        self._client = RelayClient(redis_url, self._subscriber, f"training-{uuid.uuid4().hex[:16]}")

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._run(self._start())
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def workers(self) -> Sequence[Heartbeat]:
        """Return the ready workers. Raises ClientError if Redis can't be reached."""
        return [worker for worker in self._run(self._client.workers_now()) if is_usable(worker)]

    def generate(
        self,
        worker: Heartbeat,
        model: str,
        adapter: AdapterRef | None,
        prompts: Sequence[Sequence[int]],
        tokens: int,
    ) -> list[Generation]:
        """Generate greedily after each prompt on this worker. Raises EngineCallError."""

        async def generate_all() -> list[Generation]:
            calls = [self._generate(worker, model, adapter, prompt, tokens) for prompt in prompts]
            return await asyncio.gather(*calls)

        return self._run(generate_all())

    async def _start(self) -> None:
        await self._subscriber.start()
        await self._client.start()

    async def _stop(self) -> None:
        await self._client.stop()
        await self._subscriber.stop()

    def _close(self) -> None:
        stop = asyncio.run_coroutine_threadsafe(self._stop(), self._loop)
        try:
            stop.result(CALL_TIMEOUT_S)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            while True:
                try:
                    return future.result(POLL_S)
                except FutureTimeoutError:
                    if future.done():
                        raise
                    self._check()
        finally:
            future.cancel()

    async def _generate(
        self, worker: Heartbeat, model: str, adapter: AdapterRef | None, prompt: Sequence[int], tokens: int
    ) -> Generation:
        call = Call(
            request_id=f"req_{uuid.uuid4().hex}",
            correlation_id="verification",
            operation=Operation.COMPLETIONS,
            model=model,
            streamed=False,
            body=_body(model, prompt, tokens),
            budget_s=CALL_TIMEOUT_S,
            cost_tokens=len(prompt) + tokens,
            adapter=adapter,
            is_metered=False,
            worker_id=worker.worker_id,
        )
        try:
            stream = await self._client.submit(call, attempt=1)
        except ClientError as error:
            raise EngineCallError(
                f"the worker has been lost ({type(error).__name__})", is_transient=True
            ) from None
        try:
            while True:
                for event in await stream.next_events(CALL_TIMEOUT_S):
                    if isinstance(event, Finished):
                        return generation_of(event.data)
                    if isinstance(event, Failed):
                        raise EngineCallError(event.detail, is_transient=_is_transient(event))
                    if isinstance(event, Lost):
                        raise EngineCallError(f"the worker has been lost ({event.cause})", is_transient=True)
        finally:
            stream.close()


def _is_transient(event: Failed) -> bool:
    """Return whether the call may succeed later: unless the engine refuses the request or the adapter."""
    is_refused_adapter = event.kind is FailureKind.ENGINE and isinstance(event.fault, AdapterFault)
    return event.kind is not FailureKind.REQUEST and not is_refused_adapter


def _body(model: str, prompt: Sequence[int], tokens: int) -> bytes:
    return json.dumps(
        {
            "model": model,
            "prompt": list(prompt),
            "max_tokens": tokens,
            "temperature": 0,
            "logprobs": 1,
            "return_token_ids": True,
            "ignore_eos": True,
            # A salt of its own, so that verifications share no prefix cache.
            "cache_salt": uuid.uuid4().hex,
        }
    ).encode()


def generation_of(body: bytes) -> Generation:
    """Return the only choice of a completion with log-probs and token ids."""
    choice = json.loads(body)["choices"][0]
    return Generation(tuple(choice["token_ids"]), tuple(choice["logprobs"]["token_logprobs"]))
