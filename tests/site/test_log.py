"""Log lines carry the correlation id, stay on one line, and never show a secret."""

from __future__ import annotations

import json
import logging

import pytest

from api.gateway.correlation import correlation_id
from cyllm_site.log import JsonFormatter, TextFormatter, logging_settings

KEY = "sk-cy-abcdefghijkl-" + "x" * 43


def record(message: str, *arguments: object, error: BaseException | None = None) -> logging.LogRecord:
    info = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord("cyllm.test", logging.INFO, "f.py", 1, message, arguments, info)


@pytest.mark.criterion("6.7")
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


@pytest.mark.criterion("4.7")
def test_both_forms_have_the_correlation_id() -> None:
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


@pytest.mark.criterion("6.6")
@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_a_message_can_not_pass_for_a_second_line(formatter: logging.Formatter) -> None:
    assert "\n" not in formatter.format(record("a\nINFO forged\r\n"))


@pytest.mark.criterion("4.10")
def test_levels_are_per_logger() -> None:
    loggers = logging_settings("DEBUG", "json")["loggers"]
    assert loggers["cyllm"]["level"] == "DEBUG"
    assert loggers["celery.beat"]["level"] == "WARNING"
