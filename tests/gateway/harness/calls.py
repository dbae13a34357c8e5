"""Requests that many tests make: the paths, a valid body for each, and shortcuts."""

from __future__ import annotations

from typing import Any

from api.gateway.app import Gateway
from tests.gateway.harness.conditions import eventually
from tests.gateway.harness.driver import Connection, Reply, call, connect

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
EMBEDDINGS = "/v1/embeddings"
RESPONSES = "/v1/responses"
BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"model": "tiny", "messages": [{"role": "user", "content": "hello"}]},
    COMPLETIONS: {"model": "tiny", "prompt": "hello"},
    EMBEDDINGS: {"model": "tiny", "input": "hello"},
    RESPONSES: {"model": "tiny", "input": "hello"},
    "/tokenize": {"model": "tiny", "prompt": "hello"},
    "/v1/tokenize": {"model": "tiny", "prompt": "hello"},
    "/detokenize": {"model": "tiny", "tokens": [1, 2]},
    "/v1/detokenize": {"model": "tiny", "tokens": [1, 2]},
}
RESUMABLE: dict[str, Any] = {"stream": True, "stream_options": {"on_disconnect": "continue"}}


def body_for(path: str, **changes: Any) -> dict[str, Any]:
    """Return a valid body with changes. A value of ``...`` removes the field."""
    return {name: value for name, value in {**BODIES[path], **changes}.items() if value is not ...}


def start_post(gateway: Gateway, key: str, path: str, **changes: Any) -> Connection:
    """Start a POST request with a changed body."""
    return connect(gateway, "POST", path, key=key, body=body_for(path, **changes))


async def post(gateway: Gateway, key: str, path: str, **changes: Any) -> Reply:
    """Make a POST request with a changed body."""
    return await start_post(gateway, key, path, **changes).finish()


def start_chat(gateway: Gateway, key: str, **changes: Any) -> Connection:
    """Start a chat request."""
    return start_post(gateway, key, CHAT, **changes)


async def chat(gateway: Gateway, key: str, **changes: Any) -> Reply:
    """Make a chat request."""
    return await start_chat(gateway, key, **changes).finish()


def start_resumable_chat(gateway: Gateway, key: str, **changes: Any) -> Connection:
    """Start a chat request that outlives its connection."""
    return start_chat(gateway, key, **{**RESUMABLE, **changes})


async def resumable_chat(gateway: Gateway, key: str, **changes: Any) -> Reply:
    """Make a chat request whose stream can be resumed, and read the stream to its end."""
    return await start_resumable_chat(gateway, key, **changes).finish()


async def resume(gateway: Gateway, key: str, stream_id: str, after: int | None = None) -> Reply:
    """Read a stream, from the event behind number ``after`` on."""
    query = "" if after is None else f"?starting_after={after}"
    return await call(gateway, "GET", f"/v1/streams/{stream_id}{query}", key=key)


def start_response(gateway: Gateway, key: str, **changes: Any) -> Connection:
    """Start a request that creates a response."""
    return start_post(gateway, key, RESPONSES, **changes)


async def create_response(gateway: Gateway, key: str, **changes: Any) -> Reply:
    """Create a response."""
    return await start_response(gateway, key, **changes).finish()


async def retrieve(gateway: Gateway, key: str, response_id: str, query: str = "") -> Reply:
    """Retrieve a stored response."""
    return await call(gateway, "GET", f"{RESPONSES}/{response_id}{query}", key=key)


async def final_response(gateway: Gateway, key: str, response_id: str) -> dict[str, Any]:
    """Wait until the response is final and return it."""
    response: dict[str, Any] = {}

    async def is_final() -> bool:
        response.update((await retrieve(gateway, key, response_id)).document)
        return response["status"] not in {"queued", "in_progress"}

    await eventually(is_final)
    return response
