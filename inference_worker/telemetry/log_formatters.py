"""Formatters of log lines, as text or JSON: they add the correlation id and mask secrets."""

from __future__ import annotations

import json
import logging
import traceback
from datetime import UTC, datetime
from textwrap import indent

from typing_extensions import override

from inference_worker.telemetry.correlation import correlation_id
from inference_worker.telemetry.masking import mask_secrets


class _Formatter(logging.Formatter):
    """Base of both formats. Masks the finished line, so exception texts are masked as well.

    The extra ``trace`` of a log call replaces a traceback that must not be logged in full.
    """

    def __init__(self, worker: str = "") -> None:
        super().__init__()
        self.worker = worker

    @override
    def format(self, record: logging.LogRecord) -> str:
        return mask_secrets(self.line(record))

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
    """One line of text, then the indented traceback of an exception."""

    @override
    def line(self, record: logging.LogRecord) -> str:
        # A line break in a message could forge a log line.
        message = record.getMessage().replace("\r", "\\r").replace("\n", "\\n")
        text = (
            f"{self.time_of(record)} {record.levelname:<7} {record.name} [{correlation_id.get()}] {message}"
        )
        exception = self.exception_of(record)
        # Indented: a line of an exception's text could forge a log line.
        return f"{text}\n{indent(exception, '  ')}" if exception else text


class JsonFormatter(_Formatter):
    """One JSON object per line. An inference worker's lines have the field ``worker``."""

    @override
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
