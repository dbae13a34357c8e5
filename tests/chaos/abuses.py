"""The abuses of ``tests.chaos.abuse``, by clients of one tenant in a process of their own."""

from __future__ import annotations

import asyncio
import gzip
import json
import multiprocessing
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache

import httpx

from tests.stack.resumable import CONTINUE
from tests.stack.sse import chat

BODY_BYTES = 8 * 1024 * 1024 - 1024
CHAT = "/v1/chat/completions"
LOW_PRIORITY = 10


@dataclass(frozen=True)
class Abuse:
    """``count`` clients at once, each of which repeats ``request``."""

    count: int
    request: Callable[[httpx.AsyncClient, str], Awaitable[None]]


@cache
def _body_of_keys(model: str) -> bytes:
    keys = ",".join(f'"{number:x}":0' for number in range(680_000))
    return ('{"model":"' + model + '","metadata":{' + keys + "}}").encode()


@cache
def _large_body(model: str, content: str) -> bytes:
    text = content * ((BODY_BYTES - 200) // len(content))
    return ('{"model":"' + model + '","messages":[{"role":"user","content":"' + text + '"}]}').encode()


@cache
def _compressed_body(model: str) -> bytes:
    return gzip.compress(_large_body(model, "x"), mtime=0)


@cache
def _token_ids(model: str) -> bytes:
    return json.dumps({"model": model, "prompt": [1] * 100_000, "max_tokens": 1}).encode()


async def many_keys(http: httpx.AsyncClient, model: str) -> None:
    """Send a body with hundreds of thousands of short JSON keys."""
    await _post(http, _body_of_keys(model))


async def large_bodies(http: httpx.AsyncClient, model: str) -> None:
    """Send a large body that is valid."""
    await _post(http, _large_body(model, "x"))


async def escaped_bodies(http: httpx.AsyncClient, model: str) -> None:
    """Send a large body that takes long to decode."""
    await _post(http, _large_body(model, r"\u00e9\n"))


async def compressed_bodies(http: httpx.AsyncClient, model: str) -> None:
    """Send a small body that becomes large."""
    await _post(http, _compressed_body(model), {"Content-Encoding": "gzip"})


async def token_ids(http: httpx.AsyncClient, model: str) -> None:
    """Send a prompt of many token ids, which take long to validate."""
    await _post(http, _token_ids(model), path="/v1/completions")


async def unauthenticated_bodies(http: httpx.AsyncClient, model: str) -> None:
    """Send a large body with a wrong key."""
    await _post(http, _large_body(model, "x"), {"Authorization": "Bearer sk-cy-wrong"})


async def uploads(http: httpx.AsyncClient, _: str) -> None:
    """Upload a large file."""
    form = {"files": {"file": ("data.bin", b"x" * 64_000_000)}, "data": {"purpose": "user_data"}}
    response = await http.post("/v1/files", **form)  # type: ignore[arg-type]
    if response.status_code == 200:
        await http.delete(f"/v1/files/{response.json()['id']}")


async def many_choices(http: httpx.AsyncClient, model: str) -> None:
    """Ask for as many choices as the API allows."""
    body = {**chat(model, "pieces=40 gap=0.01"), "stream": False, "n": 128}
    await http.post(CHAT, json=body)


async def long_streams(http: httpx.AsyncClient, model: str) -> None:
    """Read a long stream with log-probs."""
    body = chat(model, "pieces=900 gap=0.005", max_tokens=900, logprobs=True, top_logprobs=20)
    async with http.stream("POST", CHAT, json=body) as response:
        async for _ in response.aiter_bytes():
            pass


async def continuing_streams(http: httpx.AsyncClient, model: str) -> None:
    """Start a stream that goes on without its client."""
    body = chat(model, "pieces=200 gap=0.05", stream_options=CONTINUE)
    async with http.stream("POST", CHAT, json=body) as response:
        async for _ in response.aiter_bytes():
            break


ABUSES: Mapping[str, Abuse] = {
    "4 bodies of 680,000 keys": Abuse(4, many_keys),
    "64 plain bodies of 8 MB": Abuse(64, large_bodies),
    "64 bodies of 8 MB of escapes": Abuse(64, escaped_bodies),
    "64 compressed bodies of 8 MB": Abuse(64, compressed_bodies),
    "64 prompts of 100,000 token ids": Abuse(64, token_ids),
    "64 bodies of 8 MB without a key": Abuse(64, unauthenticated_bodies),
    "8 uploads of 64 MB": Abuse(8, uploads),
    "16 requests of 128 choices": Abuse(16, many_choices),
    "40 streams of 900 tokens": Abuse(40, long_streams),
    "64 continuing streams": Abuse(64, continuing_streams),
}


@contextmanager
def running_abuse(name: str, base_url: str, key: str, model: str) -> Iterator[None]:
    """Run an abuse in another process, of low priority: its clients would have machines of their own."""
    process = multiprocessing.get_context("spawn").Process(target=_run, args=(name, base_url, key, model))
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


def client(base_url: str, key: str) -> httpx.AsyncClient:
    """Return an HTTP client with a key."""
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.AsyncClient(base_url=base_url, headers=headers, timeout=60, trust_env=False)


def _run(name: str, base_url: str, key: str, model: str) -> None:
    os.nice(LOW_PRIORITY)
    asyncio.run(_repeat(ABUSES[name], base_url, key, model))


async def _repeat(abuse: Abuse, base_url: str, key: str, model: str) -> None:
    async def repeat() -> None:
        async with client(base_url, key) as http:
            while True:
                with suppress(httpx.HTTPError):
                    await abuse.request(http, model)
                await asyncio.sleep(0.01)

    await asyncio.gather(*(repeat() for _ in range(abuse.count)))


async def _post(
    http: httpx.AsyncClient, body: bytes, headers: Mapping[str, str] | None = None, *, path: str = CHAT
) -> None:
    await http.post(path, content=body, headers={"Content-Type": "application/json", **(headers or {})})
