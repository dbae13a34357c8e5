"""Faults parsed from an engine's error bodies: OpenAI's format, in the wordings of OpenAI and vLLM."""

from __future__ import annotations

import json
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_worker.protocol import faults
from inference_worker.runtime.calls.fault_parsing import error_status, is_context_overflow, parse_fault


def body(message: object, param: str | None = None) -> str:
    return json.dumps({"error": {"message": message, "type": "BadRequestError", "param": param, "code": 400}})


@pytest.mark.parametrize(
    ("message", "param", "fault"),
    [
        (
            "This model's maximum context length is 128 tokens. However, your prompt contains 130 input "
            "tokens, which exceeds this limit (parameter=input_tokens, value=130)",
            "input_tokens",
            faults.ContextOverflow(limit_tokens=128, prompt_tokens=130),
        ),
        (
            "This model's maximum context length is 128 tokens. However, your prompt contains at least 129 "
            "input tokens, which exceeds this limit even without any output tokens.",
            "input_tokens",
            faults.ContextOverflow(limit_tokens=128, prompt_tokens=129, at_least=True),
        ),
        (
            "This model's maximum context length is 128 tokens. However, your prompt contains 9000 "
            "characters (more than 1280 characters, which is the upper bound for 128 input tokens).",
            "input_text",
            faults.ContextOverflow(limit_tokens=128, prompt_characters=9000),
        ),
        (
            "Input length (200) exceeds model's maximum context length (128).",
            None,
            faults.ContextOverflow(limit_tokens=128, prompt_tokens=200),
        ),
        (
            "max_completion_tokens=500 cannot be greater than max_model_len=128. Please request fewer",
            "max_completion_tokens",
            faults.ContextOverflow(
                limit_tokens=128, completion_tokens=500, limiting_param="max_completion_tokens"
            ),
        ),
        (
            "This model's maximum context length is 128 tokens. However, you requested 140 tokens (120 in "
            "the messages, 20 in the completion). Please reduce the length of the messages or completion.",
            None,
            faults.ContextOverflow(limit_tokens=128, prompt_tokens=120, completion_tokens=20),
        ),
        (
            "This model's maximum context length is 128 tokens, however you requested 140 tokens (120 in "
            "your prompt; 20 for the completion). Please reduce your prompt; or completion length.",
            None,
            faults.ContextOverflow(limit_tokens=128, prompt_tokens=120, completion_tokens=20),
        ),
        (
            "This model's maximum context length is 128 tokens. However, your messages resulted in 130 "
            "tokens.",
            None,
            faults.ContextOverflow(limit_tokens=128, prompt_tokens=130),
        ),
        (
            "This model's maximum context length is 16 tokens. However, you requested 99 tokens.",
            None,
            faults.ContextOverflow(limit_tokens=16),
        ),
        (
            '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set',
            None,
            faults.ToolsUnsupported(),
        ),
        (
            "Model 'tiny' does not support Matryoshka embeddings; dimensions must be unset (received 8).",
            None,
            faults.DimensionsUnsupported(),
        ),
        (
            "Model 'tiny' only supports dimensions in range [1, 64], got 65.",
            None,
            faults.InvalidDimensions(dimensions=65, supported="in range [1, 64]"),
        ),
        (
            "Model 'tiny' only supports Matryoshka dimensions [32, 64], got 8.",
            None,
            faults.InvalidDimensions(dimensions=8, supported="[32, 64]"),
        ),
        ("Token id 60000 is out of vocabulary", None, faults.UnknownTokenId(token_id=60000)),
        (
            "token_id(s) [99999] in logit_bias are out-of-vocab. (parameter=logit_bias, value=[9])",
            "logit_bias",
            faults.InvalidParameter(
                param="logit_bias", reason="token_id(s) [99999] in logit_bias are out-of-vocab"
            ),
        ),
        (
            "Regex is wrong:\n  at 3\n  ^\n",
            "structured_outputs.regex",
            faults.InvalidParameter(param="structured_outputs.regex", reason="Regex is wrong:"),
        ),
        (
            "n must be 1 when using greedy sampling, got 2.",
            None,
            faults.OtherFault(reason="n must be 1 when using greedy sampling, got 2"),
        ),
    ],
)
def test_an_error_message_is_parsed_into_a_fault(
    message: str, param: str | None, fault: faults.RequestFault
) -> None:
    assert parse_fault(body(message, param)) == fault
    assert parse_fault(json.dumps({"message": message, "param": param})) == fault, "without the envelope"


@pytest.mark.parametrize("text", ["", "not json", "[]", "5", '{"error": 5}', body(5), body(None)])
def test_a_body_without_a_message_is_a_fault_without_a_reason(text: str) -> None:
    assert parse_fault(text) == faults.OtherFault(reason="")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"error": ' * 100_000])
def test_a_body_that_is_nested_too_deeply_is_a_fault_without_a_reason(text: str) -> None:
    assert (parse_fault(text), error_status(text)) == (faults.OtherFault(reason=""), 0)


@pytest.mark.parametrize(
    ("message", "param"),
    [("\ud800 is bad", None), ("bad", "\udfff"), ("it only supports dimensions \ud800, got 5", None)],
)
def test_an_unpaired_surrogate_is_replaced_because_no_message_can_carry_it(
    message: str, param: str | None
) -> None:
    fault = parse_fault(body(message, param))
    assert "\N{REPLACEMENT CHARACTER}" in str(fault)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(fault), type=faults.RequestFault) == fault


@pytest.mark.parametrize(
    "message",
    [
        " " * 1_000_000 + "x",
        "max_" * 250_000,
        "only supports dimensions " * 40_000,
        "(parameter=" * 100_000,
        "1 in the " * 100_000 + "maximum context length is 5",
    ],
    ids=lambda message: message[:10],
)
def test_no_message_occupies_the_worker_for_long(message: str) -> None:
    text = body(message)
    start = time.process_time()
    parse_fault(text)
    assert time.process_time() - start < 2


@given(st.integers(0, 10**40), st.integers(0, 10**40))
def test_a_number_that_no_message_can_carry_is_never_in_a_fault(limit: int, count: int) -> None:
    for message in (
        f"maximum context length is {limit} tokens: {count} in the prompt, {count} in the completion",
        f"maximum context length is {limit} tokens. However, your prompt contains {count} input tokens",
        f"max_tokens={count} cannot be greater than max_model_len={limit}.",
        f"Token id {count} is out of vocabulary",
    ):
        fault = parse_fault(body(message))
        msgspec.msgpack.encode(fault)
        numbers = [value for value in msgspec.structs.asdict(fault).values() if type(value) is int]
        assert set(numbers) <= {limit, count, 2 * count}


@pytest.mark.parametrize(
    ("text", "status"),
    [('{"error": {"code": 400}}', 400), ('{"error": {"code": "x"}}', 0), ('{"error": 1}', 0), ("{", 0)],
)
def test_the_status_of_an_error_event_is_read_if_it_has_one(text: str, status: int) -> None:
    assert error_status(text) == status


@pytest.mark.parametrize(
    ("message", "is_overflow"),
    [
        ("This model's maximum context length is 128 tokens.", True),
        ("max_tokens=500 cannot be greater than max_model_len=128.", True),
        ("The prompt is longer than the maximum model length of 128.", True),
        ("max_tokens must be at least 1, got 0.", True),
        ("max_tokens must be at least 1, got -1.", False),
        ("Token id 60000 is out of vocabulary", False),
    ],
)
def test_a_context_overflow_is_recognized_in_each_wording(message: str, is_overflow: bool) -> None:
    assert is_context_overflow(body(message).encode()) is is_overflow
