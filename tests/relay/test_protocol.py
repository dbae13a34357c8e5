"""The wire format: the bytes of each message are fixed, and every message survives the round trip."""

from __future__ import annotations

import contextlib
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_worker.client.routing import supports
from inference_worker.protocol import codec, faults
from inference_worker.protocol.messages import (
    Accepted,
    AdapterRef,
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
    RequestsRefused,
    RequestStarted,
    Submit,
    WorkerState,
)
from inference_worker.transport.heartbeats import parse_heartbeat

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
ADAPTER_SUBMIT = msgspec.structs.replace(
    SUBMIT,
    model="ft:m:t::1",
    adapter=AdapterRef(name="ft:m:t::1", base_model="m", sha256="ab", rank=8, url="u"),
    is_metered=False,
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
REFUSED = RequestsRefused(
    fact_id="f",
    gateway_id="g",
    minute_at=120,
    tenant_id="t",
    key_id="k",
    key_prefix="p",
    client_network="192.0.2.0/24",
    endpoint="/v1/chat/completions",
    error_code="rate_limit_exceeded",
    status=429,
    requests=7,
)
GOLDEN = {
    "submit": (
        SUBMIT,
        "9ca67375626d6974a57265715f3101a167b0636861742e636f6d706c6574696f6e73a16dc3c4027b7da163cb40"
        "4e000000000000c0c3",
    ),
    "submit_with_adapter": (
        ADAPTER_SUBMIT,
        "9ca67375626d6974a57265715f3101a167b0636861742e636f6d706c6574696f6e73a966743a6d3a743a3a31c3"
        "c4027b7da163cb404e00000000000095a966743a6d3a743a3a31a16da2616208a175c2",
    ),
    "cancel": (
        Cancel(request_id="req_1", reason="gone"),
        "93a663616e63656ca57265715f31a4676f6e65",
    ),
    "frame": (
        FRAME,
        "95a56672616d65a177a162079494a86163636570746564a57265715f31010095a564656c7461a57265715f3101"
        "01c40a646174613a207b7d0a0a96a866696e6973686564a57265715f310102c40096030201cb3fe00000000000"
        "00c0cb3ff000000000000099a66661696c6564a57265715f320200a77265667573656400a466756c6c96030201"
        "cb3fe0000000000000c0cb3ff0000000000000c0",
    ),
    "heartbeat": (
        HEARTBEAT,
        "dc0018a9686561727462656174a177a162a26368a5726561647991a16dcd08000100a57265616479cb3ff80000"
        "00000000cb3fd0000000000000a4766c6c6da3637075cb400000000000000091aa656d62656464696e677380c0"
        "0090a0c0c0c0",
    ),
    "started": (
        STARTED,
        "9da773746172746564a57265715f31a163a167a174a16ba16db42f76312f636861742f636f6d706c6574696f6e"
        "73c3cb4000000000000000930000000000",
    ),
    "metered": (
        METERED,
        "97a76d657465726564a57265715f3101a177a9636f6d706c6574656496030201cb3fe0000000000000c0cb3ff0"
        "000000000000cb4008000000000000",
    ),
    "ended": (
        ENDED,
        "dc0018a5656e646564a57265715f31a163a167a174a16ba170a93132372e302e302e31a4504f5354b42f76312f"
        "636861742f636f6d706c6574696f6e73a16dc3ccc8a9636f6d706c65746564c001a17796030201cb3fe0000000"
        "000000c0cb3ff0000000000000cb4000000000000000cb3ff0000000000000cb3fe0000000000000c3c0c0",
    ),
    "refused": (
        REFUSED,
        "9ca772656675736564a166a16778a174a16ba170ac3139322e302e322e302f3234b42f76312f636861742f636f6d70"
        "6c6574696f6e73b3726174655f6c696d69745f6578636565646564cd01ad07",
    ),
}


@pytest.mark.parametrize(("message", "wire"), GOLDEN.values(), ids=GOLDEN)
def test_every_message_has_its_golden_bytes(message: Command | Frame | Heartbeat | Fact, wire: str) -> None:
    assert codec.encode(message).hex() == wire
    decode = {
        Submit: codec.decode_command,
        Cancel: codec.decode_command,
        Frame: codec.decode_frame,
        Heartbeat: codec.decode_heartbeat,
    }.get(type(message), codec.decode_fact)
    assert decode(bytes.fromhex(wire)) == message


def failed(fault: faults.RequestFault | None) -> Failed:
    return Failed(
        request_id="req_2",
        attempt=1,
        index=0,
        kind=FailureKind.REQUEST,
        status=400,
        detail="",
        meter=METER,
        fault=fault,
    )


def events_of(wire: object) -> tuple[object, ...]:
    """Return the events of a frame that is given as its untyped MessagePack value."""
    return codec.decode_frame(msgspec.msgpack.encode(wire)).events


GOLDEN_FAULTS = {
    "context_overflow": (
        faults.ContextOverflow(limit_tokens=8, prompt_tokens=9, at_least=True),
        "97b0636f6e746578745f6f766572666c6f770809c0c0c3c0",
    ),
    "response_too_large": (
        faults.ResponseTooLarge(response_bytes=9, limit_bytes=8),
        "93b2726573706f6e73655f746f6f5f6c617267650908",
    ),
    "upstream_silence": (
        faults.UpstreamSilence(limit_s=0.5),
        "92b0757073747265616d5f73696c656e6365cb3fe0000000000000",
    ),
    "tools_unsupported": (faults.ToolsUnsupported(), "91b1746f6f6c735f756e737570706f72746564"),
    "dimensions_unsupported": (
        faults.DimensionsUnsupported(),
        "91b664696d656e73696f6e735f756e737570706f72746564",
    ),
    "invalid_dimensions": (
        faults.InvalidDimensions(dimensions=9, supported="[8]"),
        "93b2696e76616c69645f64696d656e73696f6e7309a35b385d",
    ),
    "unknown_token_id": (
        faults.UnknownTokenId(token_id=9),
        "92b0756e6b6e6f776e5f746f6b656e5f696409",
    ),
    "invalid_parameter": (
        faults.InvalidParameter(param="n", reason="no"),
        "93b1696e76616c69645f706172616d65746572a16ea26e6f",
    ),
    "adapter": (faults.AdapterFault(reason="no"), "92a761646170746572a26e6f"),
    "other": (faults.OtherFault(reason="no"), "92a56f74686572a26e6f"),
}


@pytest.mark.parametrize(("fault", "wire"), GOLDEN_FAULTS.values(), ids=GOLDEN_FAULTS)
def test_every_fault_has_its_golden_bytes_and_survives_the_round_trip(
    fault: faults.RequestFault, wire: str
) -> None:
    assert msgspec.msgpack.encode(fault).hex() == wire
    frame = msgspec.structs.replace(FRAME, events=(failed(fault),))
    assert codec.decode_frame(codec.encode(frame)) == frame


def test_every_kind_of_fault_has_golden_bytes() -> None:
    assert {type(fault) for fault, _ in GOLDEN_FAULTS.values()} == set(get_args(faults.RequestFault))


def test_a_failure_from_a_worker_without_faults_is_still_decoded() -> None:
    wire = msgspec.msgpack.decode(codec.encode(FRAME))
    assert wire[4][3].pop() is None
    assert events_of(wire) == FRAME.events


@pytest.mark.parametrize("fault", [["a_newer_fault", 5], ["invalid_parameter", 5, "reason"], "text", 5, {}])
def test_a_fault_unknown_to_this_version_is_dropped_and_the_rest_of_the_frame_is_kept(fault: object) -> None:
    other = failed(faults.UnknownTokenId(token_id=9))
    frame = msgspec.structs.replace(FRAME, events=(*FRAME.events, other, failed(None)))
    wire = msgspec.msgpack.decode(codec.encode(frame))
    wire[4][5][-1] = fault
    assert events_of(wire) == frame.events


def test_a_newer_field_of_a_fault_is_ignored() -> None:
    fault = faults.UnknownTokenId(token_id=9)
    wire = msgspec.msgpack.decode(codec.encode(msgspec.structs.replace(FRAME, events=(failed(fault),))))
    wire[4][0][-1].append("newer")
    assert events_of(wire) == (failed(fault),)


def test_the_heartbeat_of_a_worker_without_operations_is_still_decoded() -> None:
    wire = (
        "9fa9686561727462656174a177a162a26368a5726561647991a16dcd08000100a57265616479cb3ff800000000"
        "0000cb3fd0000000000000a4766c6c6da3637075cb4000000000000000"
    )
    heartbeat = codec.decode_heartbeat(bytes.fromhex(wire))
    assert heartbeat == msgspec.structs.replace(HEARTBEAT, operations=())
    assert [operation for operation in Operation if supports(heartbeat, operation)] == [
        Operation.CHAT_COMPLETIONS,
        Operation.COMPLETIONS,
    ]


def test_a_heartbeat_of_another_version_is_no_worker_and_is_reported_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    later = msgspec.msgpack.decode(codec.encode(HEARTBEAT))
    later[0] = "heartbeat-of-a-later-version"
    for _ in range(3):
        assert parse_heartbeat(msgspec.msgpack.encode(later)) is None
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert parse_heartbeat(None) is None
    assert parse_heartbeat(codec.encode(HEARTBEAT)) == HEARTBEAT


def test_the_end_from_a_gateway_without_faults_is_still_decoded() -> None:
    wire = msgspec.msgpack.decode(codec.encode(ENDED))
    assert codec.decode_fact(msgspec.msgpack.encode(wire[:-2])) == ENDED


def test_the_submit_of_a_gateway_without_adapters_is_still_decoded() -> None:
    wire = (
        "9aa67375626d6974a57265715f3101a167b0636861742e636f6d706c6574696f6e73a16dc3c4027b7da163cb40"
        "4e000000000000"
    )
    assert codec.decode_command(bytes.fromhex(wire)) == SUBMIT


@given(
    st.text(max_size=40),
    st.integers(0, 9),
    st.sampled_from(Operation),
    st.booleans(),
    st.binary(max_size=300),
    st.floats(0, 1e6),
)
def test_any_submit_survives_the_round_trip(
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
def test_arbitrary_bytes_raise_nothing_but_a_protocol_error(data: bytes) -> None:
    for decode in (codec.decode_command, codec.decode_frame, codec.decode_heartbeat, codec.decode_fact):
        # Random bytes may happen to be a message.
        with contextlib.suppress(codec.ProtocolError):
            assert codec.encode(decode(data))


def test_a_field_appended_by_a_newer_sender_is_ignored() -> None:
    wire = msgspec.msgpack.decode(codec.encode(Cancel(request_id="req_1", reason="gone")))
    assert codec.decode_command(msgspec.msgpack.encode([*wire, "new"])) == Cancel(
        request_id="req_1", reason="gone"
    )
