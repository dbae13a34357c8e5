"""The short way for plain text: from the engine's output processor straight into events.

vLLM's own application makes the first and the last pieces of every stream; the pieces between differ only
in their text, so they are made from the first one's bytes. It costs less than half of the CPU time per
token (docs/decisions/0003-fast-path.md), and the bytes are vLLM's own by construction.
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

current_sink: ContextVar[TextFastPath | None] = ContextVar("current_sink", default=None)

_JSON_STRING = rb'"(?:[^"\\]|\\.)*"'
PIECES = {
    Operation.CHAT_COMPLETIONS: re.compile(rb'(.*"delta":\{"content":)' + _JSON_STRING + rb"(.*)", re.DOTALL),
    Operation.COMPLETIONS: re.compile(rb'(.*?"text":)' + _JSON_STRING + rb"(.*)", re.DOTALL),
}
# What may be in a request without changing the form of its pieces; all else takes vLLM's own way.
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


class EmptyPieces(Enum):
    """What an application does with an output that holds no text yet, as when a character is not complete."""

    SENT = "sent"
    LEFT_OUT = "left out"  # by vLLM's parsers


def is_plain(submit: Submit) -> bool:
    """Whether the stream is one choice of text with nothing beside it."""
    if not submit.streamed:
        return False
    try:
        request: dict[str, Any] = msgspec.json.decode(submit.body)
    except msgspec.MsgspecError:
        return False  # the engine's application says what is wrong with it
    options = request.get("stream_options") or {}
    return (
        all(value is None or name in PLAIN_FIELDS for name, value in request.items())
        and request.get("n") in (None, 1)
        and set(options) <= {"include_usage"}
        and (submit.operation is not Operation.COMPLETIONS or isinstance(request.get("prompt"), str))
    )


def _nowhere(_: Any) -> None:
    raise RuntimeError("a sink takes outputs only after attach")


class TextFastPath:
    """Takes the place of ``RequestOutputCollector.put`` for one request.

    An output goes on to vLLM's application as long as the form of a piece is not known or an earlier
    output is still on its way through the application, and when it is the last.
    """

    def __init__(
        self,
        operation: Operation,
        meter: CallMeter,
        emit: Callable[[bytes], None],
        empty_pieces: EmptyPieces = EmptyPieces.SENT,
    ) -> None:
        self._piece = PIECES[operation]
        self._sends_empty = empty_pieces is EmptyPieces.SENT
        self._meter = meter
        self._emit = emit
        self._pass_on: Callable[[Any], None] = _nowhere
        self._collector: Any = None
        self._form: tuple[bytes, bytes] | None = None
        self._on_their_way = 0
        self._skipped: list[int] = []
        self.short_pieces = 0

    def attach(self, collector: Any) -> None:
        """Stand before this collector from now on."""
        self._collector, self._pass_on = collector, collector.put
        collector.put = self.put

    def put(self, output: Any) -> None:
        """Take one RequestOutput, or an exception, from the engine's output processor."""
        if isinstance(output, Exception):
            self._pass_on(output)
            return
        self._meter.observe_output(output)
        (choice,) = output.outputs
        if self._form is None or self._on_their_way or output.finished:
            self._on_their_way += self._makes_a_new_piece(choice)
            if output.finished and self._skipped:
                choice.token_ids = [*self._skipped, *choice.token_ids]
            self._pass_on(output)
            return
        self._skipped.extend(choice.token_ids)
        before, after = self._form
        if choice.text or self._sends_empty:
            self.short_pieces += 1
            self._emit(before + to_json(choice.text) + after)

    def _makes_a_new_piece(self, choice: Any) -> bool:
        """Whether the application will send one piece more for this output; some are merged on the way."""
        waiting = self._collector.output
        if self._sends_empty:
            return waiting is None
        return bool(choice.text) and (waiting is None or not waiting.outputs[0].text)

    def seen(self, data: bytes) -> None:
        """A piece has come out of vLLM's application: learn its form."""
        if (found := self._piece.fullmatch(data)) is None:
            return
        self._on_their_way -= 1
        before, after = found.groups()
        if self._form is None and b'"finish_reason":null' in after:
            self._form = (before, after)
