"""Engine errors in the platform's words: a client's fault is explained, a server's is not."""

from __future__ import annotations

import json

import pytest

from api.gateway.stages.engine_errors import error_of, may_move
from inference_worker.client.interface import LossCause, Lost
from inference_worker.protocol.messages import Failed, FailureKind, Operation
from tests.gateway.scripted import failed

CHAT = Operation.CHAT_COMPLETIONS


def detail(message: str, param: str | None = None) -> str:
    return json.dumps({"error": {"message": message, "type": "BadRequestError", "param": param, "code": 400}})


@pytest.mark.parametrize(
    ("message", "param", "code", "shown_param", "parts"),
    [
        (
            "This model's maximum context length is 128 tokens. However, your prompt contains 130 input "
            "tokens, which exceeds this limit (parameter=input_tokens, value=130)",
            "input_tokens",
            "context_length_exceeded",
            "messages",
            ("128 tokens", "130 tokens"),
        ),
        (
            "This model's maximum context length is 128 tokens. However, your prompt contains 9000 "
            "characters (more than 1280 characters, which is the upper bound for 128 input tokens).",
            "input_text",
            "context_length_exceeded",
            "messages",
            ("128 tokens", "9000 characters"),
        ),
        (
            "Input length (200) exceeds model's maximum context length (128).",
            None,
            "context_length_exceeded",
            "messages",
            ("128", "200"),
        ),
        (
            "max_completion_tokens=500 cannot be greater than max_model_len=128. Please request fewer",
            "max_completion_tokens",
            "context_length_exceeded",
            "messages",
            (
                "500 tokens in the completion",
                "128 tokens",
                "reduce the length of the 'max_completion_tokens'",
            ),
        ),
        (
            "This model's maximum context length is 128 tokens. However, you requested 140 tokens (120 in "
            "the messages, 20 in the completion). Please reduce the length of the messages or completion.",
            None,
            "context_length_exceeded",
            "messages",
            ("128 tokens", "140 tokens (120 in the messages, 20 in the completion)"),
        ),
        (
            "This model's maximum context length is 128 tokens, however you requested 140 tokens (120 in "
            "your prompt; 20 for the completion). Please reduce your prompt; or completion length.",
            None,
            "context_length_exceeded",
            "messages",
            ("128 tokens", "140 tokens (120 in the messages, 20 in the completion)"),
        ),
        (
            "This model's maximum context length is 128 tokens. However, your messages resulted in 130 "
            "tokens.",
            None,
            "context_length_exceeded",
            "messages",
            (
                "128 tokens. However, your messages resulted in 130 tokens.",
                "reduce the length of the messages",
            ),
        ),
        (
            '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set',
            None,
            "unsupported_parameter",
            "tools",
            ("without tools",),
        ),
        (
            "token_id(s) [99999] in logit_bias are out-of-vocab. (parameter=logit_bias, value=[9])",
            "logit_bias",
            "invalid_value",
            "logit_bias",
            ("out-of-vocab",),
        ),
        (
            "Regex is wrong:\n  at 3\n  ^\n",
            "structured_outputs.regex",
            "invalid_value",
            "structured_outputs.regex",
            ("is wrong",),
        ),
        ("n must be 1 when using greedy sampling, got 2.", None, "invalid_request", None, ("greedy",)),
    ],
)
def test_a_fault_of_the_client_is_named(
    message: str, param: str | None, code: str, shown_param: str | None, parts: tuple[str, ...]
) -> None:
    error = error_of(failed(FailureKind.REQUEST, 400, detail(message, param)), CHAT, 1.0)
    assert (error.status, error.code, error.param) == (400, code, shown_param)
    assert all(part in error.message for part in parts)
    assert "(parameter=" not in error.message
    assert "�" not in error.message
    assert "at 3" not in error.message


@pytest.mark.parametrize("status", [401, 403, 404, 500])
@pytest.mark.parametrize("text", ["", "not json", "[]", '{"error": 5}', detail("secret path /opt/x")])
def test_what_is_no_fault_of_the_client_tells_nothing_of_the_engine(status: int, text: str) -> None:
    error = error_of(failed(FailureKind.REQUEST, status, text), CHAT, 1.0)
    assert (error.status, error.code) == (500, "engine_error")
    assert "/opt" not in error.message


@pytest.mark.parametrize("text", ["", "not json", "[]", '{"error": 5}', '{"error": {"message": 5}}'])
def test_a_refusal_without_words_is_still_a_400(text: str) -> None:
    assert error_of(failed(FailureKind.REQUEST, 400, text), CHAT, 1.0).code == "invalid_request"


def test_silence_of_a_remote_engine_is_the_upstream_stage() -> None:
    body = json.dumps({"error": {"message": "x", "limit_s": 120}})
    error = error_of(failed(FailureKind.UPSTREAM, 504, body), CHAT, 121.3)
    assert (error.status, error.code) == (504, "upstream_timeout")
    assert "121.3 s elapsed, limit 120 s" in error.message
    assert error_of(failed(FailureKind.UPSTREAM, 504, ""), CHAT, 1.0).code == "upstream_error"


def test_only_what_another_worker_could_answer_moves() -> None:
    moving: list[Failed | Lost] = [
        Lost(LossCause.WORKER_DIED),
        failed(FailureKind.REFUSED),
        failed(FailureKind.UPSTREAM, 502),
    ]
    staying: list[Failed | Lost] = [failed(FailureKind.REQUEST, 400), failed(FailureKind.ENGINE, 500)]
    assert [may_move(event) for event in moving] == [True] * 3
    assert [may_move(event) for event in staying] == [False] * 2


def test_an_answer_too_large_to_be_carried_is_said_to_be_so_with_both_sizes() -> None:
    body = json.dumps({"error": {"answer_bytes": 20_000_000, "limit_bytes": 16_777_216}})
    error = error_of(failed(FailureKind.REQUEST, 413, body), Operation.EMBEDDINGS, 1.0)
    assert (error.status, error.code) == (400, "answer_too_large")
    assert "20000000 bytes" in error.message
    assert "16777216" in error.message
