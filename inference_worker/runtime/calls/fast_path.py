"""The fast path for plain text streams: from vLLM's output processor straight to server-sent events.

vLLM's application produces the first and last chunks of every stream. The chunks between them differ from the
first only in their text, so they are built from its bytes and equal vLLM's own. This takes less than half the
CPU time per token (docs/decisions/0003-fast-path.md).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextvars import ContextVar
from enum import Enum
from typing import Any

import msgspec
from pydantic_core import to_json

from inference_worker.protocol.messages import Operation, Submit
from inference_worker.runtime.calls.meter import CallMeter

current_fast_path: ContextVar[TextFastPath | None] = ContextVar("current_fast_path", default=None)

_JSON_STRING = rb'"(?:[^"\\]|\\.)*"'
# Bytes before the text, the text, bytes after it.
CHUNK_PATTERNS = {
    Operation.CHAT_COMPLETIONS: re.compile(rb'(.*"delta":\{"content":)' + _JSON_STRING + rb"(.*)", re.DOTALL),
    Operation.COMPLETIONS: re.compile(rb'(.*?"text":)' + _JSON_STRING + rb"(.*)", re.DOTALL),
}
# Parameters that do not change the form of a chunk.
PLAIN_FIELDS = frozenset(
    {
        "model",
        "messages",
        "prompt",
        "stream",
        "stream_options",
        "n",
        "max_tokens",
        "max_completion_tokens",
        "min_tokens",
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "repetition_penalty",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "seed",
        "stop",
        "stop_token_ids",
        "ignore_eos",
        "user",
        "metadata",
        "cache_salt",
        "priority",
    }
)


class EmptyChunks(Enum):
    """The engine's treatment of outputs without text, such as those with an incomplete character."""

    SENT = "sent"
    OMITTED = "omitted"  # by vLLM's parsers


def is_plain(submit: Submit) -> bool:
    """Return whether the response is a stream of one choice that contains only text."""
    if not submit.streamed:
        return False
    try:
        request: dict[str, Any] = msgspec.json.decode(submit.body)
    except msgspec.MsgspecError:
        return False  # the engine's application reports the error
    options = request.get("stream_options") or {}
    return (
        all(value is None or name in PLAIN_FIELDS for name, value in request.items())
        and request.get("n") in (None, 1)
        and set(options) <= {"include_usage"}
        and (submit.operation is not Operation.COMPLETIONS or isinstance(request.get("prompt"), str))
    )


def _not_attached(_: Any) -> None:
    raise RuntimeError("the fast path is not attached to a collector")


class TextFastPath:
    """Replaces ``RequestOutputCollector.put`` for one request.

    vLLM's application receives the outputs until the form of a chunk is known, while it still has an earlier
    output, and the last output. ``chunks``: the number of chunks built here.
    """

    def __init__(
        self,
        operation: Operation,
        meter: CallMeter,
        emit: Callable[[bytes], None],
        empty_chunks: EmptyChunks = EmptyChunks.SENT,
    ) -> None:
        self.chunks = 0
        self._pattern = CHUNK_PATTERNS[operation]
        self._sends_empty = empty_chunks is EmptyChunks.SENT
        self._meter = meter
        self._emit = emit
        self._put_slow: Callable[[Any], None] = _not_attached
        self._collector: Any = None
        self._form: tuple[bytes, bytes] | None = None
        self._slow_chunks = 0
        self._skipped_token_ids: list[int] = []

    def attach(self, collector: Any) -> None:
        """Intercept the outputs of this collector from now on."""
        self._collector, self._put_slow = collector, collector.put
        collector.put = self.put

    def put(self, output: Any) -> None:
        """Take one RequestOutput, or an exception, from the engine's output processor."""
        if isinstance(output, Exception):
            self._put_slow(output)
            return
        self._meter.observe_output(output)
        (choice,) = output.outputs
        if self._form is None or self._slow_chunks or output.finished:
            self._slow_chunks += self._makes_new_chunk(choice)
            if output.finished and self._skipped_token_ids:
                choice.token_ids = [*self._skipped_token_ids, *choice.token_ids]
            self._put_slow(output)
            return
        self._skipped_token_ids.extend(choice.token_ids)
        before, after = self._form
        if choice.text or self._sends_empty:
            self.chunks += 1
            self._emit(before + to_json(choice.text) + after)

    def _makes_new_chunk(self, choice: Any) -> bool:
        """Return whether the application will send a chunk for this output; the collector merges some."""
        pending = self._collector.output
        if self._sends_empty:
            return pending is None
        return bool(choice.text) and (pending is None or not pending.outputs[0].text)

    def observe_chunk(self, data: bytes) -> None:
        """Learn the form of a chunk from one that vLLM's application has sent."""
        if (match := self._pattern.fullmatch(data)) is None:
            return
        self._slow_chunks -= 1
        before, after = match.groups()
        if self._form is None and b'"finish_reason":null' in after:
            self._form = (before, after)
