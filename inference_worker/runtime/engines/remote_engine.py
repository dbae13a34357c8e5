"""A remote OpenAI-speaking engine behind the same interface: the same ASGI call, over HTTP."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx

from inference_worker.protocol.messages import Operation
from inference_worker.runtime.calls.engine import (
    Engine,
    EngineStartError,
    Message,
    Receive,
    ReportStage,
    Send,
)
from inference_worker.runtime.calls.fast_path import EmptyPieces
from inference_worker.runtime.calls.meter import CallMeter, current_meter
from inference_worker.runtime.settings import WorkerSettings

logger = logging.getLogger("cyllm.worker.remote")

CHECK_INTERVAL_S = 1.0
CHECK_TIMEOUT_S = 5.0
TELL_INTERVAL_S = 10.0
FAILED_CHECKS = 5
START_TIMEOUT_S = 600.0
EVENT_END = b"\n\n"


@asynccontextmanager
async def remote_engine(settings: WorkerSettings, report: ReportStage) -> AsyncIterator[Engine]:
    """Wait until the remote engine answers, and serve through it. Raises EngineStartError."""
    if settings.adapters:
        raise EngineStartError(
            "CYLLM_WORKER_ADAPTERS works with the engine vllm only: load adapters at the remote engine, "
            "and serve each by a worker with its name as CYLLM_WORKER_ENGINE_MODEL"
        )
    if not settings.engine_url:
        raise EngineStartError("CYLLM_WORKER_ENGINE_URL is not set: the engine remote needs an address")
    headers = {"authorization": f"Bearer {settings.engine_key}"} if settings.engine_key else {}
    timeout = httpx.Timeout(settings.upstream_timeout_s, connect=5.0)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
    async with httpx.AsyncClient(
        base_url=settings.engine_url.rstrip("/"), headers=headers, timeout=timeout, limits=limits
    ) as client:
        engine = RemoteEngine(client, settings)
        report("waiting for the remote engine")
        await engine.wait_ready(START_TIMEOUT_S, report)
        yield engine


class RemoteEngine:
    """See ``engine.Engine``."""

    short_ways: Mapping[Operation, EmptyPieces] = {}
    is_dead = False  # it may answer the next request; ``failed`` tells when it doesn't for long

    def __init__(self, client: httpx.AsyncClient, settings: WorkerSettings) -> None:
        self.max_model_len = settings.max_model_len or 0  # unknown, until the engine's list says it
        self.operations = settings.engine_operations
        self._client = client
        self._served = settings.model
        self._upstream_name = settings.engine_model or settings.model
        self._running = 0

    def running(self) -> int:
        """Requests that are open to the remote engine."""
        return self._running

    def count_partial(self, request_id: str, meter: CallMeter) -> None:
        """See ``engine.Engine``: all that a remote engine tells is already on the meter."""

    async def wait_ready(self, timeout_s: float, report: ReportStage) -> None:
        """Return when the engine lists its models; until then say why not. Raises EngineStartError."""
        said, said_at = "", 0.0
        try:
            async with asyncio.timeout(timeout_s):
                while fault := await self._fault():
                    now = time.monotonic()
                    if fault != said:
                        report(f"waiting for the remote engine at {self._address}: {fault}")
                    if fault != said or now - said_at >= TELL_INTERVAL_S:
                        logger.warning("waiting for the remote engine at %s: %s", self._address, fault)
                        said, said_at = fault, now
                    await asyncio.sleep(CHECK_INTERVAL_S)
        except TimeoutError:
            reason = said or "no answer"
            raise EngineStartError(f"no engine answered at {self._address}: {reason}") from None

    async def failed(self) -> str:
        """See ``engine.Engine``."""
        misses = 0
        while misses < FAILED_CHECKS:
            await asyncio.sleep(CHECK_INTERVAL_S)
            misses = misses + 1 if await self._fault() else 0
        return "the remote engine does not answer"

    @property
    def _address(self) -> str:
        """The engine's address to be shown: without name, password and query."""
        url = self._client.base_url
        return f"{url.scheme}://{url.netloc.decode()}{url.path.rstrip('/')}"

    async def _fault(self) -> str:
        """Why the engine does not answer, empty if it does. Cheap and unbilled: the model list."""
        try:
            answer = await self._client.get("/v1/models", timeout=CHECK_TIMEOUT_S)
        except httpx.TimeoutException:
            return f"no answer within {CHECK_TIMEOUT_S:.0f} s"
        except httpx.HTTPError as error:
            return _reason(error)
        if answer.status_code != 200:
            return f"answered {answer.status_code} to /v1/models"
        self.max_model_len = self.max_model_len or _context_of(answer.content, self._upstream_name)
        return ""

    async def app(self, scope: Message, receive: Receive, send: Send) -> None:
        """Forward one request and its answer; ends at once when the caller disconnects."""
        request = await receive()
        gone = asyncio.create_task(_disconnected(receive))
        work = asyncio.create_task(self._forward(scope, request["body"], send))
        self._running += 1
        try:
            await asyncio.wait([gone, work], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._running -= 1
            gone.cancel()
            if not work.done():
                work.cancel()
            await asyncio.gather(gone, work, return_exceptions=True)
        if not work.cancelled() and (error := work.exception()) is not None:
            raise error

    async def _forward(self, scope: Message, body: bytes, send: Send) -> None:
        call = json.loads(body)
        wants_usage = bool((call.get("stream_options") or {}).get("include_usage"))
        call["model"] = self._upstream_name
        call.pop("cache_salt", None)  # vLLM's own; other engines refuse what they don't know
        if call.get("stream"):
            call["stream_options"] = {**(call.get("stream_options") or {}), "include_usage": True}
        meter = current_meter.get()
        started = False
        try:
            async with self._client.stream("POST", scope["path"], json=call) as answer:
                if meter is not None and answer.status_code == 200:
                    meter.accepted()
                await send({"type": "http.response.start", "status": answer.status_code, "headers": []})
                started = True
                if call.get("stream") and answer.status_code == 200:
                    await self._relay_events(answer, send, wants_usage, meter)
                else:
                    await self._relay_body(answer, send, meter)
        except httpx.HTTPError as error:
            await _send_failure(send, error, started, self._client.timeout.read)

    async def _relay_body(self, answer: httpx.Response, send: Send, meter: CallMeter | None) -> None:
        body = await answer.aread()
        if answer.status_code == 200:
            document = json.loads(body)
            if "model" in document:  # the answers of tokenizers name none
                document["model"] = self._served
            if meter is not None and isinstance(document.get("usage"), dict):
                meter.observe_usage(document["usage"])
            body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _relay_events(
        self, answer: httpx.Response, send: Send, wants_usage: bool, meter: CallMeter | None
    ) -> None:
        rest, complete = b"", False
        async for data in answer.aiter_bytes():
            *events, rest = (rest + data).replace(b"\r\n", b"\n").split(EVENT_END)
            for event in events:
                complete = complete or event.endswith(b"[DONE]")
                if shown := self._rewritten(event, wants_usage, meter):
                    await send({"type": "http.response.body", "body": shown + EVENT_END, "more_body": True})
        if not complete:
            raise httpx.RemoteProtocolError("the stream ended without [DONE]")

    def _rewritten(self, event: bytes, wants_usage: bool, meter: CallMeter | None) -> bytes | None:
        """The event under our model name; its usage goes to the meter, and on only if asked for."""
        text = event.removeprefix(b"data:").strip()
        if not event.startswith(b"data:") or not text.startswith(b"{"):
            return event if text == b"[DONE]" else None
        chunk: dict[str, Any] = json.loads(text)
        if "error" in chunk:
            # First and alone, as vLLM has it: that is how the call tells it from a piece.
            return b"data: " + json.dumps({"error": chunk["error"]}, separators=(",", ":")).encode()
        usage = chunk.get("usage")
        if meter is not None:
            _observe(meter, chunk, usage)
        if usage is not None and not wants_usage:
            del chunk["usage"]
            if not chunk.get("choices"):
                return None
        chunk["model"] = self._served
        return b"data: " + json.dumps(chunk, ensure_ascii=False, separators=(",", ":")).encode()


def _context_of(models: bytes, name: str) -> int:
    """The context length that a list of models tells of one of them, as vLLM's does; 0 for others."""
    try:
        listed = json.loads(models)["data"]
        (found,) = (model["max_model_len"] for model in listed if model["id"] == name)
    except (ValueError, LookupError, TypeError):
        return 0
    return found if isinstance(found, int) and found > 0 else 0


def _observe(meter: CallMeter, chunk: dict[str, Any], usage: Any) -> None:
    if chunk.get("choices"):
        meter.observe_first_token()
    if isinstance(usage, dict):
        meter.observe_usage(usage)
    elif any(_has_content(choice) for choice in chunk.get("choices") or ()):
        meter.observe_piece()


def _has_content(choice: dict[str, Any]) -> bool:
    delta = choice.get("delta") or {}
    return bool(choice.get("text") or delta.get("content") or delta.get("tool_calls"))


def _reason(error: BaseException) -> str:
    """What the system said, which HTTP clients wrap in errors of their own."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, BaseExceptionGroup):
            inner = inner.exceptions[0]
            continue
        if isinstance(inner, OSError) and inner.strerror:
            # asyncio words a refusal as "Connect call failed" with the address, which is said already
            refused = isinstance(inner, ConnectionRefusedError)
            return "connection refused" if refused else inner.strerror
        inner = inner.__cause__ or inner.__context__
    return type(error).__name__


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_failure(send: Send, error: httpx.HTTPError, started: bool, limit_s: float | None) -> None:
    """``limit_s`` goes along, for the gateway's error to name it."""
    logger.warning("remote engine failed: %s", type(error).__name__)
    status = 504 if isinstance(error, httpx.TimeoutException) else 502
    message = {
        "error": {
            "message": "the remote engine failed",
            "type": type(error).__name__,
            "code": status,
            "limit_s": limit_s,
        }
    }
    if started:
        body = b"data: " + json.dumps(message).encode() + EVENT_END
    else:
        body = json.dumps(message).encode()
        await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": body, "more_body": False})
