"""The text sink: what goes the short way, what goes vLLM's, and that nothing is lost between them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from inference_worker.protocol.messages import Operation, Submit
from inference_worker.runtime.calls.fast_path import EmptyPieces, TextFastPath, is_plain
from inference_worker.runtime.calls.meter import CallMeter


@dataclass
class Choice:
    """As vLLM's CompletionOutput."""

    text: str
    token_ids: list[int]


@dataclass
class Output:
    """As vLLM's RequestOutput, as far as the sink and the meter look."""

    outputs: list[Choice]
    finished: bool = False
    request_id: str = "chatcmpl-1"
    prompt_token_ids: tuple[int, ...] = (1, 2)
    num_cached_tokens: int = 0
    metrics: None = None


@dataclass
class Application:
    """vLLM's way: a collector that merges what waits, and an application that makes pieces of it."""

    empty_pieces: EmptyPieces = EmptyPieces.SENT
    output: Output | None = None
    pieces: list[bytes] = field(default_factory=list)
    tokens: int = 0

    def put(self, output: Output) -> None:
        if self.output is None:
            self.output = output
            return
        waiting, new = self.output.outputs[0], output.outputs[0]
        merged = Choice(waiting.text + new.text, [*waiting.token_ids, *new.token_ids])
        self.output = Output([merged], output.finished)

    def turn(self) -> bytes | None:
        output, self.output = self.output, None
        if output is None:
            return None
        self.tokens += len(output.outputs[0].token_ids)
        if not (output.outputs[0].text or output.finished or self.empty_pieces is EmptyPieces.SENT):
            return None
        reason = "stop" if output.finished else None
        delta = {"index": 0, "delta": {"content": output.outputs[0].text}, "finish_reason": reason}
        text = json.dumps({"id": "x", "choices": [delta]}, ensure_ascii=False, separators=(",", ":"))
        return f"data: {text}\n\n".encode()


def _texts(pieces: list[bytes]) -> list[str]:
    return [json.loads(piece[6:])["choices"][0]["delta"]["content"] for piece in pieces]


@given(
    st.lists(st.text(max_size=6), min_size=1, max_size=30),
    st.lists(st.booleans(), min_size=30, max_size=30),
    st.sampled_from(EmptyPieces),
)
def test_whatever_the_reader_does_the_text_is_whole_in_order_and_every_token_counted(
    texts: list[str], reads: list[bool], empty_pieces: EmptyPieces
) -> None:
    application = Application(empty_pieces)
    pieces: list[bytes] = []
    meter = CallMeter(lambda: None)
    sink = TextFastPath(Operation.CHAT_COMPLETIONS, meter, pieces.append, empty_pieces)
    sink.attach(application)
    put: Any = application.put

    def read() -> None:
        if (piece := application.turn()) is not None:
            pieces.append(piece)
            sink.seen(piece)

    for number, text in enumerate(texts):
        put(Output([Choice(text, [number])], finished=number == len(texts) - 1))
        if reads[number]:
            read()
    read()
    assert "".join(_texts(pieces)) == "".join(texts)
    if empty_pieces is EmptyPieces.LEFT_OUT:
        assert all(_texts(pieces[:-1]))
    assert application.tokens == len(texts)
    assert meter.reading().completion_tokens == len(texts)


def test_after_the_first_piece_all_but_the_last_go_the_short_way() -> None:
    application = Application()
    short: list[bytes] = []
    sink = TextFastPath(Operation.CHAT_COMPLETIONS, CallMeter(lambda: None), short.append)
    sink.attach(application)
    put: Any = application.put
    put(Output([Choice("a", [1])]))
    first = application.turn()
    assert first is not None
    sink.seen(first)
    for text in ("b", '"\\ 😀', "d"):
        put(Output([Choice(text, [2])]))
        assert application.output is None
    put(Output([Choice("e", [5])], finished=True))
    assert sink.short_pieces == 3
    assert _texts(short) == ["b", '"\\ 😀', "d"]
    assert short[0] == first.replace(b'"a"', b'"b"')
    assert application.turn() is not None


def test_where_pieces_without_text_are_left_out_one_does_not_close_the_short_way() -> None:
    application = Application(EmptyPieces.LEFT_OUT)
    pieces: list[bytes] = []
    sink = TextFastPath(
        Operation.CHAT_COMPLETIONS, CallMeter(lambda: None), pieces.append, EmptyPieces.LEFT_OUT
    )
    sink.attach(application)
    put: Any = application.put
    put(Output([Choice("", [1])]))
    assert application.turn() is None
    put(Output([Choice("", [2])]))
    put(Output([Choice("a", [3])]))
    first = application.turn()
    assert first is not None
    sink.seen(first)
    for number, text in enumerate(["b", "", "c"]):
        put(Output([Choice(text, [4 + number])]))
    put(Output([Choice("d", [7])], finished=True))
    assert _texts(pieces) == ["b", "c"]
    assert application.turn() is not None
    assert application.tokens == 7


def _submit(body: bytes, *, streamed: bool = True) -> Submit:
    return Submit(
        request_id="req_1",
        attempt=1,
        reply_to="g",
        operation=Operation.CHAT_COMPLETIONS,
        model="m",
        streamed=streamed,
        body=body,
        correlation_id="c",
        budget_s=1,
    )


def test_only_one_choice_of_plain_text_takes_the_short_way() -> None:
    plain = {"model": "m", "messages": [], "stream": True, "temperature": 0.5, "logprobs": None}
    assert is_plain(_submit(json.dumps(plain).encode()))
    assert not is_plain(_submit(json.dumps(plain).encode(), streamed=False))
    others: list[dict[str, Any]] = [
        {"n": 2},
        {"logprobs": True},
        {"tools": []},
        {"response_format": {"type": "json_object"}},
        {"stream_options": {"include_usage": True, "continuous_usage_stats": True}},
        {"return_token_ids": True},
    ]
    for extra in others:
        assert not is_plain(_submit(json.dumps({**plain, **extra}).encode()))
    assert not is_plain(_submit(b'{"x": -' + b"9" * 5000 + b"}")), "left to the engine's own application"
