"""Mixed load of a trial: chats, streams, streams that break off and resume, and requests of strangers."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.stack.resumable import CONTINUE
from tests.stack.sse import chat

PIECES = 12
TEXT = "".join(f"w{number} " for number in range(PIECES))
ALLOWED_STATUSES = frozenset({200, 401, 404, 429, 500, 502, 503, 504})


@dataclass
class SentRequest:
    """A request as its client saw it. ``status`` is 0 if the connection broke before a response."""

    correlation_id: str
    kind: str
    status: int = 0
    code: str = ""
    fault: str = ""


@dataclass
class Load:
    """Clients that repeat random requests until a deadline. One in three has one of ``limited_keys``."""

    base_url: str
    key: str
    model: str
    seed: int
    limited_keys: Sequence[str] = ()
    requests: list[SentRequest] = field(default_factory=list)

    async def run(self, seconds: float, concurrency: int, pause_s: float = 0.0) -> None:
        """Run ``concurrency`` clients, each with a pause between its requests."""
        deadline = asyncio.get_running_loop().time() + seconds
        clients = (self._client(number, deadline, pause_s) for number in range(concurrency))
        await asyncio.gather(*clients)

    async def _client(self, number: int, deadline: float, pause_s: float) -> None:
        choose = random.Random(f"{self.seed}-{number}")
        kinds: Sequence[tuple[str, Callable[[httpx.AsyncClient, SentRequest], Awaitable[None]]]] = (
            ("plain", self._plain),
            ("stream", self._stream),
            ("leave", self._leave),
            ("resume", self._resume),
            ("list", self._list),
            ("stranger", self._stranger),
        )
        headers = {"Authorization": f"Bearer {self._key_of(number)}"}
        loop, count = asyncio.get_running_loop(), 0
        async with httpx.AsyncClient(
            base_url=self.base_url, headers=headers, timeout=90, trust_env=False
        ) as http:
            while loop.time() < deadline:
                kind, request = choose.choices(kinds, (4, 4, 1, 2, 1, 1))[0]
                record = SentRequest(f"chaos-{number}-{count}", kind)
                count += 1
                self.requests.append(record)
                try:
                    await request(http, record)
                except httpx.HTTPError as error:
                    if isinstance(error, httpx.TimeoutException):
                        record.fault = "no answer within 90 s"
                    await asyncio.sleep(0.2)  # the gateway is down
                if record.status and record.status not in ALLOWED_STATUSES:
                    record.fault = f"status {record.status}"
                await asyncio.sleep(pause_s if record.status in (0, 200) else max(pause_s, 0.1))

    def _key_of(self, number: int) -> str:
        if not self.limited_keys or number % 3 < 2:
            return self.key
        return self.limited_keys[number // 3 % len(self.limited_keys)]

    def _body(self, gap_s: float = 0.01, **fields: Any) -> dict[str, Any]:
        return chat(self.model, f"pieces={PIECES} gap={gap_s}", **fields)

    async def _plain(self, http: httpx.AsyncClient, record: SentRequest) -> None:
        body = {**self._body(), "stream": False}
        body.pop("stream_options", None)
        response = await http.post("/v1/chat/completions", json=body, headers=_id(record))
        record.status = response.status_code
        if record.status >= 400:
            record.code = response.json()["error"]["code"]
        if response.status_code == 200:
            content = response.json()["choices"][0]["message"]["content"]
            record.fault = "" if content == TEXT else f"text {content!r}"

    async def _stream(self, http: httpx.AsyncClient, record: SentRequest) -> None:
        async with http.stream(
            "POST", "/v1/chat/completions", json=self._body(), headers=_id(record)
        ) as response:
            record.status = response.status_code
            events = await _events(response)
            if record.status >= 400:
                record.code = response.json()["error"]["code"]
        if record.status == 200:
            record.fault = _text_fault(events)

    async def _leave(self, http: httpx.AsyncClient, record: SentRequest) -> None:
        async with http.stream(
            "POST", "/v1/chat/completions", json=self._body(), headers=_id(record)
        ) as response:
            record.status = response.status_code
            await _events(response, 3)

    async def _resume(self, http: httpx.AsyncClient, record: SentRequest) -> None:
        body = self._body(0.03, stream_options=CONTINUE)
        async with http.stream("POST", "/v1/chat/completions", json=body, headers=_id(record)) as response:
            record.status = response.status_code
            if record.status != 200:
                return
            stream_id = response.headers["x-stream-id"]
            events = await _events(response, 4)
        again = SentRequest(f"{record.correlation_id}-again", "resumed")
        self.requests.append(again)
        path = f"/v1/streams/{stream_id}" + (f"?starting_after={len(events) - 1}" if events else "")
        async with http.stream("GET", path, headers=_id(again)) as response:
            again.status = response.status_code
            if again.status == 200:
                again.fault = _text_fault([*events, *await _events(response)])

    async def _list(self, http: httpx.AsyncClient, record: SentRequest) -> None:
        record.status = (await http.get("/v1/models", headers=_id(record))).status_code

    async def _stranger(self, http: httpx.AsyncClient, record: SentRequest) -> None:
        headers = {**_id(record), "Authorization": "Bearer sk-cy-nobody"}
        record.status = (await http.get("/v1/models", headers=headers)).status_code
        record.fault = "let in" if record.status == 200 else ""


def _id(record: SentRequest) -> dict[str, str]:
    return {"X-Request-Id": record.correlation_id}


async def _events(response: httpx.Response, limit: int | None = None) -> list[str]:
    events: list[str] = []
    if response.status_code != 200:
        await response.aread()
        return events
    async for line in response.aiter_lines():
        if line.startswith("data: "):
            events.append(line.removeprefix("data: "))
            if limit is not None and len(events) >= limit:
                break
    return events


def _text_fault(events: Sequence[str]) -> str:
    """Return what is wrong with the events of a complete response: a part is lost, doubled, or the end is.

    The response of a gateway that dies is incomplete, which the client notices before.
    """
    if not events or events[-1] != "[DONE]":
        return f"the response ended without [DONE], after {len(events)} events"
    if "[DONE]" in events[:-1]:
        return f"events after [DONE]: {events}"
    documents = [json.loads(event) for event in events[:-1]]
    choices = [choice for document in documents for choice in document.get("choices", ())]
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    has_error = any("error" in document for document in documents)
    if text == TEXT or (has_error and TEXT.startswith(text)):
        return ""
    return f"text {text!r}"
