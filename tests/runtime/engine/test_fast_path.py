"""The fast path for plain text: which chunks take it, and that none are lost or reordered."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from inference_worker.protocol.messages import Operation, Submit
from inference_worker.runtime.calls.fast_path import EmptyChunks, TextFastPath, is_plain
from inference_worker.runtime.calls.meter import CallMeter


@dataclass
class Choice:
    """Stands in for vLLM's CompletionOutput."""

    text: str
    token_ids: list[int]


@dataclass
class Output:
    """Stands in for vLLM's RequestOutput, with the fields that the fast path and the meter use."""

    outputs: list[Choice]
    finished: bool = False
    request_id: str = "chatcmpl-1"
    prompt_token_ids: tuple[int, ...] = (1, 2)
    num_cached_tokens: int = 0
    metrics: None = None


@dataclass
class Application:
    """Stands in for vLLM: a collector that merges pending outputs, and an application that makes chunks."""

    empty_chunks: EmptyChunks = EmptyChunks.SENT
    output: Output | None = None
    tokens: int = 0

    def put(self, output: Output) -> None:
        if self.output is None:
            self.output = output
            return
        pending, new = self.output.outputs[0], output.outputs[0]
        total_choice = Choice(pending.text + new.text, [*pending.token_ids, *new.token_ids])
        self.output = Output([total_choice], output.finished)

    def next_chunk(self) -> bytes | None:
        output, self.output = self.output, None
        if output is None:
            return None
        self.tokens += len(output.outputs[0].token_ids)
        if not (output.outputs[0].text or output.finished or self.empty_chunks is EmptyChunks.SENT):
            return None
        reason = "stop" if output.finished else None
        delta = {"index": 0, "delta": {"content": output.outputs[0].text}, "finish_reason": reason}
        text = json.dumps({"id": "x", "choices": [delta]}, ensure_ascii=False, separators=(",", ":"))
        return f"data: {text}\n\n".encode()


def _texts(chunks: list[bytes]) -> list[str]:
    return [json.loads(chunk[6:])["choices"][0]["delta"]["content"] for chunk in chunks]


@given(
    st.lists(st.text(max_size=6), min_size=1, max_size=30),
    st.lists(st.booleans(), min_size=30, max_size=30),
    st.sampled_from(EmptyChunks),
)
def test_the_text_is_complete_and_in_order_and_every_token_is_counted_whenever_the_application_runs(
    texts: list[str], reads: list[bool], empty_chunks: EmptyChunks
) -> None:
    application = Application(empty_chunks)
    chunks: list[bytes] = []
    meter = CallMeter(lambda: None)
    fast_path = TextFastPath(Operation.CHAT_COMPLETIONS, meter, chunks.append, empty_chunks)
    fast_path.attach(application)
    put: Any = application.put

    def read() -> None:
        if (chunk := application.next_chunk()) is not None:
            chunks.append(chunk)
            fast_path.observe_chunk(chunk)

    for number, text in enumerate(texts):
        put(Output([Choice(text, [number])], finished=number == len(texts) - 1))
        if reads[number]:
            read()
    read()
    assert "".join(_texts(chunks)) == "".join(texts)
    if empty_chunks is EmptyChunks.OMITTED:
        assert all(_texts(chunks[:-1]))
    assert application.tokens == len(texts)
    assert meter.reading().completion_tokens == len(texts)


def test_all_chunks_but_the_first_and_the_last_take_the_fast_path() -> None:
    application = Application()
    fast_chunks: list[bytes] = []
    fast_path = TextFastPath(Operation.CHAT_COMPLETIONS, CallMeter(lambda: None), fast_chunks.append)
    fast_path.attach(application)
    put: Any = application.put
    put(Output([Choice("a", [1])]))
    first = application.next_chunk()
    assert first is not None
    fast_path.observe_chunk(first)
    for text in ("b", '"\\ 😀', "d"):
        put(Output([Choice(text, [2])]))
        assert application.output is None
    put(Output([Choice("e", [5])], finished=True))
    assert fast_path.chunks == 3
    assert _texts(fast_chunks) == ["b", '"\\ 😀', "d"]
    assert fast_chunks[0] == first.replace(b'"a"', b'"b"')
    assert application.next_chunk() is not None


def test_an_omitted_chunk_without_text_does_not_block_the_fast_path() -> None:
    application = Application(EmptyChunks.OMITTED)
    chunks: list[bytes] = []
    fast_path = TextFastPath(
        Operation.CHAT_COMPLETIONS, CallMeter(lambda: None), chunks.append, EmptyChunks.OMITTED
    )
    fast_path.attach(application)
    put: Any = application.put
    put(Output([Choice("", [1])]))
    assert application.next_chunk() is None
    put(Output([Choice("", [2])]))
    put(Output([Choice("a", [3])]))
    first = application.next_chunk()
    assert first is not None
    fast_path.observe_chunk(first)
    for number, text in enumerate(["b", "", "c"]):
        put(Output([Choice(text, [4 + number])]))
    put(Output([Choice("d", [7])], finished=True))
    assert _texts(chunks) == ["b", "c"]
    assert application.next_chunk() is not None
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


def test_only_a_stream_of_one_choice_of_plain_text_takes_the_fast_path() -> None:
    plain = {"model": "m", "messages": [], "stream": True, "temperature": 0.5, "logprobs": None}
    assert is_plain(_submit(json.dumps(plain).encode()))
    assert not is_plain(_submit(json.dumps(plain).encode(), streamed=False))
    other_parameters: list[dict[str, Any]] = [
        {"n": 2},
        {"logprobs": True},
        {"tools": []},
        {"response_format": {"type": "json_object"}},
        {"stream_options": {"include_usage": True, "continuous_usage_stats": True}},
        {"return_token_ids": True},
    ]
    for extra in other_parameters:
        assert not is_plain(_submit(json.dumps({**plain, **extra}).encode()))
    assert not is_plain(_submit(b'{"x": -' + b"9" * 5000 + b"}")), (
        "the engine's application reports the error"
    )
