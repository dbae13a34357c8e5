"""A remote engine with OpenAI's API: the ASGI call of the worker, forwarded over HTTP."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx
from typing_extensions import override

from inference_worker.protocol import sse
from inference_worker.protocol.faults import UpstreamSilence
from inference_worker.protocol.messages import AdapterRef, Operation
from inference_worker.protocol.operations import OPERATION_SPECS
from inference_worker.runtime.adapters.errors import AdapterUnavailableError
from inference_worker.runtime.calls.engine import (
    Engine,
    EngineFailedError,
    Message,
    Receive,
    ReportStage,
    Send,
)
from inference_worker.runtime.calls.engine_call import current_call
from inference_worker.runtime.calls.fast_path import EmptyChunks
from inference_worker.runtime.calls.meter import CallMeter, current_meter
from inference_worker.runtime.settings import WorkerSettings

logger = logging.getLogger("cyllm.worker.remote")

CHECK_INTERVAL_S = 1.0
CHECK_TIMEOUT_S = 5.0
LOG_INTERVAL_S = 10.0
MAX_FAILED_CHECKS = 5
START_TIMEOUT_S = 600.0
COMPLETIONS_PATH = OPERATION_SPECS[Operation.COMPLETIONS].path
COMPLETION_TOKENS = 16  # OpenAI's default, which gateways reserve; llama.cpp generates without end


@asynccontextmanager
async def remote_engine(settings: WorkerSettings, report: ReportStage) -> AsyncIterator[Engine]:
    """Connect to the remote engine once it responds. Raises EngineFailedError."""
    if settings.adapters:
        raise EngineFailedError(
            "CYLLM_WORKER_ADAPTERS works with the engine vllm only: load adapters at the remote engine, "
            "and serve each with a worker that has its name as CYLLM_WORKER_ENGINE_MODEL"
        )
    if not settings.engine_url:
        raise EngineFailedError("CYLLM_WORKER_ENGINE_URL is not set: the engine remote needs an address")
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


class RemoteEngine(Engine):
    """A server with OpenAI's API. Never dead: it may respond to the next request."""

    fast_paths: Mapping[Operation, EmptyChunks] = {}
    sampling_defaults: Mapping[str, float] = {}
    template_variables: tuple[str, ...] | None = None
    template_tokens: int | None = None
    template_option_tokens: int | None = None
    is_dead = False
    max_lora_rank = 0
    dtype = ""
    loaded_adapters: tuple[str, ...] = ()
    kv_cache_use: float | None = None

    def __init__(self, client: httpx.AsyncClient, settings: WorkerSettings) -> None:
        self.max_model_len = settings.max_model_len or 0  # or from the engine's model list, see _fault
        self.operations = settings.engine_operations
        self._client = client
        self._model = settings.model
        self._upstream_model = settings.engine_model or settings.model
        self._open_requests = 0

    @property
    @override
    def running_requests(self) -> int:
        return self._open_requests

    @override
    def count_partial(self, request_id: str, meter: CallMeter) -> None:
        pass  # the meter has all that a remote engine reports

    @override
    def adapter_model(self, ref: AdapterRef, timeout_s: float) -> AbstractAsyncContextManager[str]:
        raise AdapterUnavailableError(
            f"{ref.name}: a remote engine loads no adapters; load it there, and serve it with its own worker"
        )

    @override
    def remove_adapter(self, sha256: str) -> None:
        """Do nothing: a remote engine has no adapters of the platform."""

    async def wait_ready(self, timeout_s: float, report: ReportStage) -> None:
        """Wait until the engine lists its models, and report why it doesn't. Raises EngineFailedError."""
        last_fault, logged_at = "", 0.0
        try:
            async with asyncio.timeout(timeout_s):
                while fault := await self._fault():
                    now = time.monotonic()
                    if fault != last_fault:
                        report(f"waiting for the remote engine at {self._address}: {fault}")
                    if fault != last_fault or now - logged_at >= LOG_INTERVAL_S:
                        logger.warning("waiting for the remote engine at %s: %s", self._address, fault)
                        last_fault, logged_at = fault, now
                    await asyncio.sleep(CHECK_INTERVAL_S)
        except TimeoutError:
            reason = last_fault or "no response"
            raise EngineFailedError(f"no engine responded at {self._address}: {reason}") from None

    @override
    async def wait_for_failure(self) -> str:
        failed_checks = 0
        while failed_checks < MAX_FAILED_CHECKS:
            await asyncio.sleep(CHECK_INTERVAL_S)
            failed_checks = failed_checks + 1 if await self._fault() else 0
        return "the remote engine does not respond"

    @property
    def _address(self) -> str:
        """The engine's address for display: without credentials and query."""
        url = self._client.base_url
        return f"{url.scheme}://{url.netloc.decode()}{url.path.rstrip('/')}"

    async def _fault(self) -> str:
        """Return the reason why the engine is not ready, empty if it is. The model list is cheap and free."""
        try:
            response = await self._client.get("/v1/models", timeout=CHECK_TIMEOUT_S)
        except httpx.TimeoutException:
            return f"no response within {CHECK_TIMEOUT_S:.0f} s"
        except httpx.HTTPError as error:
            return _reason(error)
        if response.status_code != 200:
            return f"status {response.status_code} for /v1/models"
        self.max_model_len = self.max_model_len or _context_length(response.content, self._upstream_model)
        return ""

    @override
    async def app(self, scope: Message, receive: Receive, send: Send) -> None:
        request = await receive()
        disconnect = asyncio.create_task(_wait_for_disconnect(receive))
        forwarding = asyncio.create_task(self._forward(scope, request["body"], send))
        self._open_requests += 1
        try:
            await asyncio.wait([disconnect, forwarding], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._open_requests -= 1
            disconnect.cancel()
            if not forwarding.done():
                forwarding.cancel()
            await asyncio.gather(disconnect, forwarding, return_exceptions=True)
        if not forwarding.cancelled() and (error := forwarding.exception()) is not None:
            raise error

    async def _forward(self, scope: Message, body: bytes, send: Send) -> None:
        request = json.loads(body)
        wants_usage = bool((request.get("stream_options") or {}).get("include_usage"))
        request["model"] = self._upstream_model
        for name in ("cache_salt", "priority"):  # vLLM's own; other engines reject unknown parameters
            request.pop(name, None)
        if scope["path"] == COMPLETIONS_PATH:
            request.setdefault("max_tokens", COMPLETION_TOKENS)
        if request.get("stream"):
            request["stream_options"] = {**(request.get("stream_options") or {}), "include_usage": True}
        meter = current_meter.get()
        has_started = False
        try:
            async with self._client.stream("POST", scope["path"], json=request) as response:
                if meter is not None and response.status_code == 200:
                    meter.observe_acceptance()
                await send({"type": "http.response.start", "status": response.status_code, "headers": []})
                has_started = True
                if request.get("stream") and response.status_code == 200:
                    await self._relay_events(response, send, wants_usage, meter)
                else:
                    await self._relay_body(response, send, meter)
        except httpx.HTTPError as error:
            await _send_failure(send, error, has_started, self._client.timeout.read)

    async def _relay_body(self, response: httpx.Response, send: Send, meter: CallMeter | None) -> None:
        body = await response.aread()
        if response.status_code == 200:
            document = json.loads(body)
            if "model" in document:  # tokenizer routes return none
                document["model"] = self._model
            if meter is not None and isinstance(document.get("usage"), dict):
                meter.observe_usage(document["usage"])
            body = _json(document)
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _relay_events(
        self, response: httpx.Response, send: Send, wants_usage: bool, meter: CallMeter | None
    ) -> None:
        rest, is_complete = b"", False
        async for data in response.aiter_bytes():
            *events, rest = (rest + data).replace(b"\r\n", b"\n").split(sse.END)
            for event in events:
                is_complete = is_complete or event.endswith(b"[DONE]")
                if client_event := self._client_event(sse.without_comments(event), wants_usage, meter):
                    body = client_event + sse.END
                    await send({"type": "http.response.body", "body": body, "more_body": True})
        if not is_complete:
            raise httpx.RemoteProtocolError("the stream ended without [DONE]")

    def _client_event(self, event: bytes, wants_usage: bool, meter: CallMeter | None) -> bytes | None:
        """Return the event with the served model's name, and with usage only if the client asked for it.

        None for an event that the client does not get. The usage goes to the meter.
        """
        text = event.removeprefix(b"data:").strip()
        if not event.startswith(b"data:") or not text.startswith(b"{"):
            return sse.DONE if text == b"[DONE]" else None
        chunk: dict[str, Any] = json.loads(text)
        if "error" in chunk:
            # The error first and alone, as vLLM sends it: EngineCall recognizes it by that.
            return sse.data_event(json.dumps({"error": chunk["error"]}, separators=(",", ":")).encode())
        usage = chunk.get("usage")
        if meter is not None:
            _observe(meter, chunk, usage)
        if usage is not None and not wants_usage:
            del chunk["usage"]
            if not chunk.get("choices"):
                return None
        chunk["model"] = self._model
        return sse.data_event(_json(chunk))


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _context_length(model_list: bytes, name: str) -> int:
    """Return the context length of a model in a list, which vLLM includes; 0 for other engines."""
    try:
        models = json.loads(model_list)["data"]
        (length,) = (model["max_model_len"] for model in models if model["id"] == name)
    except (ValueError, LookupError, TypeError):
        return 0
    return length if isinstance(length, int) and length > 0 else 0


def _observe(meter: CallMeter, chunk: dict[str, Any], usage: Any) -> None:
    if chunk.get("choices"):
        meter.observe_first_token()
    if isinstance(usage, dict):
        meter.observe_usage(usage)
    elif any(_has_content(choice) for choice in chunk.get("choices") or ()):
        meter.observe_chunk()


def _has_content(choice: dict[str, Any]) -> bool:
    delta = choice.get("delta") or {}
    return bool(choice.get("text") or delta.get("content") or delta.get("tool_calls"))


def _reason(error: BaseException) -> str:
    """Return the operating system's reason, which HTTP clients wrap in their own errors."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
            continue
        if isinstance(cause, OSError) and cause.strerror:
            # asyncio's text for a refused connection repeats the address.
            is_refused = isinstance(cause, ConnectionRefusedError)
            return "connection refused" if is_refused else cause.strerror
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_failure(send: Send, error: httpx.HTTPError, has_started: bool, limit_s: float | None) -> None:
    """Respond with 504 after a timeout, else 502; as an event if the response has started."""
    logger.warning("the remote engine failed: %s", type(error).__name__)
    is_timeout = isinstance(error, httpx.TimeoutException)
    call = current_call.get()
    if is_timeout and limit_s is not None and call is not None:
        call.fault = UpstreamSilence(limit_s=limit_s)
    status = 504 if is_timeout else 502
    message = "the remote engine failed"
    body = json.dumps({"error": {"message": message, "type": type(error).__name__, "code": status}}).encode()
    if has_started:
        body = sse.data_event(body) + sse.END
    else:
        await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": body, "more_body": False})
