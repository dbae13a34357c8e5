"""The bytes on the wire are a contract: golden ones stay as they are, and any message survives the trip."""

from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_worker.client.worker_directory import offers
from inference_worker.protocol import codec
from inference_worker.protocol.messages import (
    Accepted,
    AttemptMetered,
    Cancel,
    Command,
    Delta,
    Fact,
    Failed,
    FailureKind,
    Finished,
    Frame,
    Heartbeat,
    Meter,
    Operation,
    Outcome,
    RequestEnded,
    RequestStarted,
    Submit,
    WorkerState,
)

METER = Meter(
    prompt_tokens=3, completion_tokens=2, cached_tokens=1, queue_s=0.5, first_token_s=None, total_s=1.0
)
SUBMIT = Submit(
    request_id="req_1",
    attempt=1,
    reply_to="g",
    operation=Operation.CHAT_COMPLETIONS,
    model="m",
    streamed=True,
    body=b"{}",
    correlation_id="c",
    budget_s=60.0,
)
FRAME = Frame(
    worker_id="w",
    lane="b",
    sequence=7,
    events=(
        Accepted(request_id="req_1", attempt=1, index=0),
        Delta(request_id="req_1", attempt=1, index=1, data=b"data: {}\n\n"),
        Finished(request_id="req_1", attempt=1, index=2, data=b"", meter=METER),
        Failed(
            request_id="req_2",
            attempt=2,
            index=0,
            kind=FailureKind.REFUSED,
            status=0,
            detail="full",
            meter=METER,
        ),
    ),
)
HEARTBEAT = Heartbeat(
    worker_id="w",
    boot="b",
    channel="ch",
    state=WorkerState.READY,
    models=("m",),
    max_model_len=2048,
    running=1,
    waiting=0,
    stage="ready",
    stage_s=1.5,
    loop_lag_s=0.25,
    engine="vllm",
    hardware="cpu",
    written_at=2.0,
    operations=("embeddings",),
)
STARTED = RequestStarted(
    request_id="req_1",
    correlation_id="c",
    gateway_id="g",
    tenant_id="t",
    key_id="k",
    model="m",
    endpoint="/v1/chat/completions",
    streamed=True,
    started_at=2.0,
)
METERED = AttemptMetered(
    request_id="req_1", attempt=1, worker_id="w", outcome=Outcome.COMPLETED, meter=METER, at=3.0
)
ENDED = RequestEnded(
    request_id="req_1",
    correlation_id="c",
    gateway_id="g",
    tenant_id="t",
    key_id="k",
    key_prefix="p",
    client_ip="127.0.0.1",
    method="POST",
    endpoint="/v1/chat/completions",
    model="m",
    streamed=True,
    status=200,
    outcome=Outcome.COMPLETED,
    error_code=None,
    attempt=1,
    worker_id="w",
    relayed=METER,
    started_at=2.0,
    duration_s=1.0,
    first_token_s=0.5,
)
GOLDEN = {
    "submit": (
        SUBMIT,
        "9aa67375626d6974a57265715f3101a167b0636861742e636f6d706c6574696f6e73a16dc3c4027b7da163cb40"
        "4e000000000000",
    ),
    "cancel": (
        Cancel(request_id="req_1", reason="gone"),
        "93a663616e63656ca57265715f31a4676f6e65",
    ),
    "frame": (
        FRAME,
        "95a56672616d65a177a162079494a86163636570746564a57265715f31010095a564656c7461a57265715f3101"
        "01c40a646174613a207b7d0a0a96a866696e6973686564a57265715f310102c40096030201cb3fe00000000000"
        "00c0cb3ff000000000000098a66661696c6564a57265715f320200a77265667573656400a466756c6c96030201"
        "cb3fe0000000000000c0cb3ff0000000000000",
    ),
    "heartbeat": (
        HEARTBEAT,
        "dc0010a9686561727462656174a177a162a26368a5726561647991a16dcd08000100a57265616479cb3ff80000"
        "00000000cb3fd0000000000000a4766c6c6da3637075cb400000000000000091aa656d62656464696e6773",
    ),
    "started": (
        STARTED,
        "9aa773746172746564a57265715f31a163a167a174a16ba16db42f76312f636861742f636f6d706c6574696f6e"
        "73c3cb4000000000000000",
    ),
    "metered": (
        METERED,
        "97a76d657465726564a57265715f3101a177a9636f6d706c6574656496030201cb3fe0000000000000c0cb3ff0"
        "000000000000cb4008000000000000",
    ),
    "ended": (
        ENDED,
        "dc0015a5656e646564a57265715f31a163a167a174a16ba170a93132372e302e302e31a4504f5354b42f76312f"
        "636861742f636f6d706c6574696f6e73a16dc3ccc8a9636f6d706c65746564c001a17796030201cb3fe0000000"
        "000000c0cb3ff0000000000000cb4000000000000000cb3ff0000000000000cb3fe0000000000000",
    ),
}


@pytest.mark.parametrize(("message", "wire"), GOLDEN.values(), ids=GOLDEN)
def test_golden_bytes_of_every_message_stay_the_same(
    message: Command | Frame | Heartbeat | Fact, wire: str
) -> None:
    assert codec.encode(message).hex() == wire
    decode = {
        Submit: codec.decode_command,
        Cancel: codec.decode_command,
        Frame: codec.decode_frame,
        Heartbeat: codec.decode_heartbeat,
    }.get(type(message), codec.decode_fact)
    assert decode(bytes.fromhex(wire)) == message


def test_the_heartbeat_of_a_worker_from_before_operations_is_still_read() -> None:
    wire = (
        "9fa9686561727462656174a177a162a26368a5726561647991a16dcd08000100a57265616479cb3ff800000000"
        "0000cb3fd0000000000000a4766c6c6da3637075cb4000000000000000"
    )
    old = codec.decode_heartbeat(bytes.fromhex(wire))
    assert old == msgspec.structs.replace(HEARTBEAT, operations=())
    assert [operation for operation in Operation if offers(old, operation)] == [
        Operation.CHAT_COMPLETIONS,
        Operation.COMPLETIONS,
    ]


@given(
    st.text(max_size=40),
    st.integers(0, 9),
    st.sampled_from(Operation),
    st.booleans(),
    st.binary(max_size=300),
    st.floats(0, 1e6),
)
def test_any_submit_survives_the_trip(
    name: str, attempt: int, operation: Operation, streamed: bool, body: bytes, budget_s: float
) -> None:
    submit = Submit(
        request_id=name,
        attempt=attempt,
        reply_to=name,
        operation=operation,
        model=name,
        streamed=streamed,
        body=body,
        correlation_id=name,
        budget_s=budget_s,
    )
    assert codec.decode_command(codec.encode(submit)) == submit


@given(st.binary(max_size=200))
def test_bytes_that_are_no_message_raise_only_a_protocol_error(data: bytes) -> None:
    for decode in (codec.decode_command, codec.decode_frame, codec.decode_heartbeat, codec.decode_fact):
        # Random bytes are a message in one of very many cases; anything but ProtocolError fails the test.
        with contextlib.suppress(codec.ProtocolError):
            assert codec.encode(decode(data))


def test_a_field_added_at_the_end_by_a_newer_sender_is_ignored() -> None:
    wire = msgspec.msgpack.decode(codec.encode(Cancel(request_id="req_1", reason="gone")))
    assert codec.decode_command(msgspec.msgpack.encode([*wire, "new"])) == Cancel(
        request_id="req_1", reason="gone"
    )
