"""Scripts for the scripted engine client, and the events that they consist of."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from inference_worker.client.interface import LossCause, Lost, StreamEvent
from inference_worker.protocol.faults import RequestFault
from inference_worker.protocol.messages import (
    Accepted,
    Delta,
    Failed,
    FailureKind,
    Finished,
    Meter,
    Operation,
)

METER = Meter(prompt_tokens=7, completion_tokens=3, total_s=0.1)
USAGE = {"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11}
CHUNK_HEAD = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "tiny"}
WORDS = ("one ", "two ", "three ", "four ", "five ")
TEXT = "".join(WORDS)


@dataclass(frozen=True)
class Pause:
    """A time in which the worker sends nothing."""

    seconds: float


# Stands for a valid document of the operation that is called.
VALID_DOCUMENT = b"{}"
HANG = Pause(3600.0)
# The worker sends nothing until an asyncio.Event is set.
Step: TypeAlias = StreamEvent | Pause | asyncio.Event | list[StreamEvent]
Script: TypeAlias = Sequence[Step]


def accepted() -> Accepted:
    return Accepted(request_id="", attempt=1, index=0)


def raw_delta(data: bytes) -> Delta:
    """Return an event whose bytes are relayed unchanged."""
    return Delta(request_id="", attempt=1, index=0, data=data)


def json_delta(document: object) -> Delta:
    """Return an event of an event stream with a JSON document."""
    return raw_delta(b"data: " + json.dumps(document).encode() + b"\n\n")


def chunk(delta: dict[str, Any] | None = None, *, finish: str | None = None, **fields: Any) -> Delta:
    """Return a chunk of a chat stream."""
    choices = [{"index": 0, "delta": delta or {}, "finish_reason": finish}] if "usage" not in fields else []
    return json_delta({**CHUNK_HEAD, "choices": choices, **fields})


def delta(text: str) -> Delta:
    """Return a chunk of a chat stream with text."""
    return chunk({"content": text})


def done() -> Delta:
    return raw_delta(b"data: [DONE]\n\n")


def finished(data: bytes = b"") -> Finished:
    return Finished(request_id="", attempt=1, index=0, data=data, meter=METER)


def failed(kind: FailureKind, status: int = 0, detail: str = "", fault: RequestFault | None = None) -> Failed:
    return Failed(
        request_id="",
        attempt=1,
        index=0,
        kind=kind,
        status=status,
        detail=detail,
        meter=METER,
        fault=fault,
    )


def lost(cause: str = "worker_died") -> Lost:
    return Lost(LossCause(cause))


def valid_document(operation: Operation) -> bytes:
    """Return a valid document of an engine for an operation."""
    head = {"id": "chatcmpl-1", "created": 1, "model": "tiny", "usage": USAGE}
    choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": "stop"}
    message = {"role": "assistant", "content": TEXT, "refusal": None}
    vector = {"index": 0, "object": "embedding", "embedding": [0.5]}
    counts = {name: USAGE[name] for name in ("prompt_tokens", "total_tokens")}
    documents: dict[Operation, dict[str, Any]] = {
        Operation.CHAT_COMPLETIONS: {
            **head,
            "object": "chat.completion",
            "choices": [{**choice, "message": message}],
        },
        Operation.COMPLETIONS: {**head, "object": "text_completion", "choices": [{**choice, "text": TEXT}]},
        Operation.EMBEDDINGS: {"object": "list", "model": "tiny", "data": [vector], "usage": counts},
        Operation.TOKENIZE: {"count": 1, "max_model_len": 4096, "tokens": [1]},
        Operation.DETOKENIZE: {"prompt": TEXT},
    }
    return json.dumps(documents[operation]).encode()


def body_script(data: bytes = VALID_DOCUMENT, *, until: asyncio.Event | None = None) -> Script:
    """Return a script for a request that isn't streamed, by default with a valid document.

    ``until``: the event for which the document waits.
    """
    return [accepted(), *([until] if until else []), finished(data)]


def chat_script(*, gap_s: float = 0.0, until: asyncio.Event | None = None) -> Script:
    """Return a script for a chat stream of ``WORDS``, of which some arrive together.

    ``until``: the event for which the first word waits.
    """
    first, second, *others = [delta(word) for word in WORDS]
    return [
        accepted(),
        until or Pause(gap_s),
        [first, second],
        Pause(gap_s),
        *others,
        Pause(gap_s),
        [done(), finished()],
    ]


def response_script(
    *, gap_s: float = 0.0, words: Sequence[str] = WORDS, until: asyncio.Event | None = None
) -> Script:
    """Return a script for the chat stream from which the gateway makes a response.

    ``until``: the event for which its end waits.
    """
    return [
        accepted(),
        chunk({"role": "assistant", "content": ""}),
        *[step for word in words for step in (Pause(gap_s), delta(word))],
        *([until] if until else []),
        chunk(finish="stop"),
        [chunk(usage=USAGE), done(), finished()],
    ]
