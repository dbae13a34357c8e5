"""Log lines for people or machines: with the correlation id, without anything secret."""

from __future__ import annotations

import json
import logging
import re
import traceback
from datetime import UTC, datetime
from textwrap import indent

from inference_worker.telemetry.correlation import correlation_id

MASK = "[masked]"
_SECRETS = re.compile(
    r"\bsk-(?:cy-[A-Za-z0-9_-]+|[A-Za-z0-9_-]{16,})"  # keys: ours whole, others' of the same style
    r"|(?i:\b(?:bearer|basic))\s+[^\s'\",]+"
    r"|(?<=://)[^\s'\"<>]{0,1000}(?=@)"  # a password in an address may itself hold a slash
    r"|(?<=(?i:password=))[^\s'\"&]+"
)


def masked(text: str) -> str:
    """The text without API keys, tokens of Authorization headers, and passwords of addresses."""
    return _SECRETS.sub(MASK, text)


def trace_without_texts(error: BaseException) -> str:
    """Where an error and its causes came from and of which types they are, without what they say.

    For errors whose texts can quote what a client sent: a prompt, an answer.
    """
    parts = []
    for found in reversed(_chain(error)):
        frames = "".join(traceback.format_tb(found.__traceback__))
        parts.append(f"{frames}{type(found).__module__}.{type(found).__qualname__}")
    return "\nwhich led to\n".join(parts)


def _chain(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    found: BaseException | None = error
    while found is not None and found not in chain:
        chain.append(found)
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)
    return chain


class _Formatter(logging.Formatter):
    """What both forms share. Masking comes last, so that exception texts are masked as well.

    ``trace``, an extra of a log call, stands in for the traceback where that must not be shown whole.
    """

    def __init__(self, worker: str = "") -> None:
        super().__init__()
        self.worker = worker

    def format(self, record: logging.LogRecord) -> str:
        return masked(self.line(record))

    def line(self, record: logging.LogRecord) -> str:
        raise NotImplementedError

    @staticmethod
    def time_of(record: logging.LogRecord) -> str:
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")

    @staticmethod
    def exception_of(record: logging.LogRecord) -> str:
        if trace := getattr(record, "trace", ""):
            return str(trace)
        return "".join(traceback.format_exception(*record.exc_info)).rstrip() if record.exc_info else ""


class TextFormatter(_Formatter):
    """One line for people; a traceback follows on lines of its own."""

    def line(self, record: logging.LogRecord) -> str:
        # Line breaks in a message could pass for log lines of their own.
        message = record.getMessage().replace("\r", "\\r").replace("\n", "\\n")
        text = (
            f"{self.time_of(record)} {record.levelname:<7} {record.name} [{correlation_id.get()}] {message}"
        )
        exception = self.exception_of(record)
        # Indented, because the text of an exception could hold a line that passes for one of ours.
        return f"{text}\n{indent(exception, '  ')}" if exception else text


class JsonFormatter(_Formatter):
    """One JSON object on one line for machines; ``worker`` is in those of an inference worker."""

    def line(self, record: logging.LogRecord) -> str:
        fields = {
            "time": self.time_of(record),
            "level": record.levelname,
            "logger": record.name,
            "correlation_id": correlation_id.get(),
            "message": record.getMessage(),
        }
        if self.worker:
            fields["worker"] = self.worker
        if exception := self.exception_of(record):
            fields["exception"] = exception
        return json.dumps(fields, ensure_ascii=False)
