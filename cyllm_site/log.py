"""Log lines for people or machines: with the correlation id, without anything secret."""

from __future__ import annotations

import json
import logging
import re
import traceback
from datetime import UTC, datetime
from typing import Any

from api.gateway.correlation import correlation_id

_SECRETS = re.compile(r"sk-cy-[A-Za-z0-9_-]+|(?i:bearer)\s+[^\s'\",]+|(?<=://)[^/@\s:]*:[^/@\s]+(?=@)")
MASK = "[masked]"


def masked(text: str) -> str:
    """The text without API keys, bearer tokens and passwords in addresses."""
    return _SECRETS.sub(MASK, text)


class _Formatter(logging.Formatter):
    """What both forms share. Masking comes last, so that exception texts are masked as well."""

    def format(self, record: logging.LogRecord) -> str:
        return masked(self.line(record))

    def line(self, record: logging.LogRecord) -> str:
        raise NotImplementedError

    @staticmethod
    def time_of(record: logging.LogRecord) -> str:
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")

    @staticmethod
    def exception_of(record: logging.LogRecord) -> str:
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
        return f"{text}\n{exception}" if exception else text


class JsonFormatter(_Formatter):
    """One JSON object on one line for machines."""

    def line(self, record: logging.LogRecord) -> str:
        fields = {
            "time": self.time_of(record),
            "level": record.levelname,
            "logger": record.name,
            "correlation_id": correlation_id.get(),
            "message": record.getMessage(),
        }
        if exception := self.exception_of(record):
            fields["exception"] = exception
        return json.dumps(fields, ensure_ascii=False)


def logging_settings(level: str, form: str) -> dict[str, Any]:
    """The ``LOGGING`` setting. ``level`` is for our own loggers, which are all below ``cyllm``."""
    formatter = "cyllm_site.log.JsonFormatter" if form == "json" else "cyllm_site.log.TextFormatter"
    loggers = {
        "cyllm": level,
        "django": "INFO",
        "django.request": "ERROR",
        "uvicorn": "INFO",
        "uvicorn.error": "INFO",
        # Requests have a line of their own, with ids and outcome: cyllm.request.
        "uvicorn.access": "WARNING",
        "celery": "INFO",
        # A line for every tick of every task would be all that is in the log.
        "celery.beat": "WARNING",
        "celery.app.trace": "WARNING",
        "celery.worker.strategy": "WARNING",
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": formatter}},
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["console"], "level": "WARNING"},
        "loggers": {
            name: {"level": lowest, "handlers": [], "propagate": True} for name, lowest in loggers.items()
        },
    }
