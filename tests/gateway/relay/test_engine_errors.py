"""Failed attempts as API errors: a client's fault is explained, a server's is not."""

from __future__ import annotations

import pytest

from api.gateway.stages.relay.engine_errors import attempt_error, is_retryable
from inference_worker.client.interface import LossCause, Lost
from inference_worker.protocol import faults
from inference_worker.protocol.messages import Failed, FailureKind, Operation
from tests.gateway.harness.scripts import failed

CHAT = Operation.CHAT_COMPLETIONS
LIMIT = "This model's maximum context length is 128 tokens. However, "


@pytest.mark.parametrize(
    ("fault", "explanation"),
    [
        (
            faults.ContextOverflow(limit_tokens=128, prompt_tokens=130),
            "your messages resulted in 130 tokens. Please reduce the length of the messages.",
        ),
        (
            faults.ContextOverflow(limit_tokens=128, prompt_tokens=129, at_least=True),
            "your messages resulted in at least 129 tokens. Please reduce the length of the messages.",
        ),
        (
            faults.ContextOverflow(limit_tokens=128, prompt_characters=9000),
            "you sent 9000 characters in the messages, which result in more tokens. "
            "Please reduce the length of the messages.",
        ),
        (
            faults.ContextOverflow(
                limit_tokens=128, completion_tokens=500, limiting_param="max_completion_tokens"
            ),
            "you requested 500 tokens in the completion. "
            "Please reduce the length of the 'max_completion_tokens'.",
        ),
        (
            faults.ContextOverflow(limit_tokens=128, prompt_tokens=120, completion_tokens=20),
            "you requested 140 tokens (120 in the messages, 20 in the completion). "
            "Please reduce the length of the messages or completion.",
        ),
        (
            faults.ContextOverflow(limit_tokens=128),
            "your messages resulted in more tokens. Please reduce the length of the messages.",
        ),
    ],
)
def test_a_context_overflow_is_explained_with_every_known_count(
    fault: faults.ContextOverflow, explanation: str
) -> None:
    error = attempt_error(failed(FailureKind.REQUEST, 400, fault=fault), CHAT, 1.0)
    assert (error.status, error.code, error.param) == (400, "context_length_exceeded", "messages")
    assert error.message == LIMIT + explanation


@pytest.mark.parametrize(
    ("fault", "code", "param", "part"),
    [
        (faults.ToolsUnsupported(), "unsupported_parameter", "tools", "without tools"),
        (faults.DimensionsUnsupported(), "unsupported_parameter", "dimensions", "a fixed length"),
        (
            faults.InvalidDimensions(dimensions=65, supported="[32, 64]\n"),
            "invalid_value",
            "dimensions",
            "supports dimensions [32, 64]�, not 65",
        ),
        (faults.UnknownTokenId(token_id=99999), "invalid_value", "messages", "99999 is not a token id"),
        (
            faults.InvalidParameter(param="logit_bias", reason="out-of-vocab\x00"),
            "invalid_value",
            "logit_bias",
            "out-of-vocab�",
        ),
        (faults.InvalidParameter(param="n", reason=""), "invalid_value", "n", "the engine rejected it"),
        (faults.OtherFault(reason="n must be 1"), "invalid_request", None, "n must be 1"),
        (faults.OtherFault(reason=""), "invalid_request", None, "the engine rejected it"),
        (None, "invalid_request", None, "the engine rejected it"),
    ],
)
def test_a_fault_of_the_request_is_a_400_that_names_the_parameter(
    fault: faults.RequestFault | None, code: str, param: str | None, part: str
) -> None:
    error = attempt_error(failed(FailureKind.REQUEST, 400, fault=fault), CHAT, 1.0)
    assert (error.status, error.code, error.param) == (400, code, param)
    assert part in error.message


@pytest.mark.case("serving.12")
def test_a_failure_without_a_fault_does_not_show_its_detail() -> None:
    error = attempt_error(failed(FailureKind.REQUEST, 400, "secret path /opt/x"), CHAT, 1.0)
    assert (error.status, error.code) == (400, "invalid_request")
    assert "/opt" not in error.message


@pytest.mark.parametrize("status", [401, 403, 404, 500])
@pytest.mark.parametrize("fault", [None, faults.OtherFault(reason="secret path /opt/x")])
@pytest.mark.case("serving.12")
def test_a_fault_of_the_server_shows_nothing_of_the_engine(
    status: int, fault: faults.RequestFault | None
) -> None:
    event = failed(FailureKind.REQUEST, status, "secret path /opt/x", fault)
    error = attempt_error(event, CHAT, 1.0)
    assert (error.status, error.code) == (500, "engine_error")
    assert "/opt" not in error.message


def test_an_engine_that_is_busy_is_an_overload() -> None:
    assert attempt_error(failed(FailureKind.REQUEST, 429), CHAT, 1.0).code == "overloaded"
    assert attempt_error(failed(FailureKind.UPSTREAM, 503), CHAT, 1.0).code == "overloaded"


def test_silence_of_a_remote_engine_is_a_timeout_of_the_upstream_stage() -> None:
    event = failed(FailureKind.UPSTREAM, 504, fault=faults.UpstreamSilence(limit_s=120))
    error = attempt_error(event, CHAT, 121.3)
    assert (error.status, error.code) == (504, "upstream_timeout")
    assert "121.3 s elapsed, limit 120 s" in error.message
    assert attempt_error(failed(FailureKind.UPSTREAM, 504), CHAT, 1.0).code == "upstream_error"


def test_only_failures_that_another_worker_may_avoid_are_retryable() -> None:
    retryable: list[Failed | Lost] = [
        Lost(LossCause.WORKER_DIED),
        failed(FailureKind.REFUSED),
        failed(FailureKind.UPSTREAM, 502),
    ]
    final: list[Failed | Lost] = [failed(FailureKind.REQUEST, 400), failed(FailureKind.ENGINE, 500)]
    assert [is_retryable(event) for event in retryable] == [True] * 3
    assert [is_retryable(event) for event in final] == [False] * 2


def test_a_response_that_is_too_large_is_reported_with_both_sizes() -> None:
    fault = faults.ResponseTooLarge(response_bytes=20_000_000, limit_bytes=16_777_216)
    error = attempt_error(failed(FailureKind.REQUEST, 413, fault=fault), Operation.EMBEDDINGS, 1.0)
    assert (error.status, error.code) == (400, "answer_too_large")
    assert "20000000 bytes" in error.message
    assert "16777216" in error.message
