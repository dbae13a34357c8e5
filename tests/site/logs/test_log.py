"""Log records have the correlation id, stay on one line, and contain no secrets."""

from __future__ import annotations

import json
import logging

import pytest

from inference_worker.telemetry.correlation import correlation_id
from inference_worker.telemetry.log_formatters import JsonFormatter, TextFormatter
from inference_worker.telemetry.masking import mask_secrets, trace_without_messages

KEY = "sk-cy-abcdefghijkl-" + "x" * 43


def record(message: str, *arguments: object, error: BaseException | None = None) -> logging.LogRecord:
    info = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord("cyllm.test", logging.INFO, "f.py", 1, message, arguments, info)


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_keys_tokens_and_passwords_are_masked_in_exceptions_too(formatter: logging.Formatter) -> None:
    try:
        raise ValueError(f"bad key {KEY}")
    except ValueError as error:
        text = formatter.format(
            record("%s and %s", f"Authorization: Bearer {KEY}", "redis://u:hunter2@host/0", error=error)
        )
    assert "x" * 43 not in text
    assert "hunter2" not in text
    assert "host/0" in text
    assert text.count("[masked]") == 3


def test_both_formats_have_the_correlation_id() -> None:
    token = correlation_id.set("req_1")
    try:
        text = TextFormatter().format(record("hello"))
        fields = json.loads(JsonFormatter().format(record("hello")))
    finally:
        correlation_id.reset(token)
    assert "[req_1] hello" in text
    assert fields == {
        "time": fields["time"],
        "level": "INFO",
        "logger": "cyllm.test",
        "correlation_id": "req_1",
        "message": "hello",
    }


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_a_message_cannot_forge_a_second_line(formatter: logging.Formatter) -> None:
    assert "\n" not in formatter.format(record("a\nINFO forged\r\n"))


@pytest.mark.parametrize(
    ("text", "masked_text"),
    [
        ("redis://u:se/cr@et@host:1/0 and x", "redis://[masked]@host:1/0 and x"),
        ("http://token-only@host/v1", "http://[masked]@host/v1"),
        ("http://host:80/v1/models", "http://host:80/v1/models"),
        ("host=h password=hunter2 dbname=d", "host=h password=[masked] dbname=d"),
        ("sk-proj-0123456789abcdef0123", "[masked]"),
        ("the task-0123456789abcdef0123 ends", "the task-0123456789abcdef0123 ends"),
        ("Authorization: Basic dXNlcjpwdw==", "Authorization: [masked]"),
    ],
)
def test_only_secrets_are_masked(text: str, masked_text: str) -> None:
    assert mask_secrets(text) == masked_text


def test_an_exceptions_text_cannot_forge_a_log_line() -> None:
    try:
        raise ValueError("a\n2026-01-01T00:00:00 INFO forged")
    except ValueError as error:
        first, *rest = TextFormatter().format(record("failed", error=error)).splitlines()
    assert first.endswith("failed")
    assert any("forged" in line for line in rest)
    assert all(line.startswith("  ") for line in rest)


def test_a_trace_without_messages_has_locations_and_types() -> None:
    secret = "the prompt"
    try:
        try:
            int(secret)
        except ValueError as error:
            raise TypeError(secret) from error
    except TypeError as error:
        trace = trace_without_messages(error)
    assert secret not in trace
    assert [line for line in trace.splitlines() if line.startswith("builtins.")] == [
        "builtins.ValueError",
        "builtins.TypeError",
    ]
    assert trace.count("test_log.py") == 2
    line = TextFormatter().format(logging.makeLogRecord({"msg": "failed", "trace": trace}))
    assert "builtins.ValueError" in line


def test_log_records_of_a_worker_have_its_name() -> None:
    assert json.loads(JsonFormatter(worker="w-1").format(record("hello")))["worker"] == "w-1"
