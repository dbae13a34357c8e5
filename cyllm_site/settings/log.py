"""Levels and formats of the loggers."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from typing_extensions import override

_SOCKET = '%s - "WebSocket '


class WithoutSockets(logging.Filter):
    """Drops uvicorn's lines about WebSockets, which quote addresses with their queries."""

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is of something else."""
        return not str(record.msg).startswith(_SOCKET)


def logging_settings(level: str, form: str, levels: Mapping[str, str]) -> dict[str, Any]:
    """Return the ``LOGGING`` setting.

    ``level`` applies to the platform's loggers, all below ``cyllm``; ``levels`` overrides it for
    individual ones.
    """
    formatter = f"inference_worker.telemetry.log_formatters.{'Json' if form == 'json' else 'Text'}Formatter"
    loggers = {
        "cyllm": level,
        "django": "INFO",
        # Would quote addresses, headers, file names and messages of errors; cyllm.site.pages logs instead.
        "django.request": "CRITICAL",
        "django.security": "CRITICAL",
        "uvicorn": "INFO",
        "uvicorn.error": "INFO",
        # The logger cyllm.request logs requests with ids and outcome.
        "uvicorn.access": "WARNING",
        # Would log every malformed upload.
        "python_multipart": "ERROR",
        # The logger cyllm.site.sign_in names who is locked, and the audit trail each failure.
        "axes": "ERROR",
        "celery": "INFO",
        # Would log every tick of every task.
        "celery.beat": "WARNING",
        # Would quote the messages of errors; cyllm_site.celery logs failed tasks.
        "celery.app.trace": "CRITICAL",
        "celery.worker.strategy": "WARNING",
        **levels,
    }
    filters = {"uvicorn.error": ["without_sockets"]}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"without_sockets": {"()": "cyllm_site.settings.log.WithoutSockets"}},
        "formatters": {"line": {"()": formatter}},
        "handlers": {
            "console": {
                "class": "inference_worker.telemetry.log_output.QueuedHandler",
                "formatter": "line",
            }
        },
        "root": {"handlers": ["console"], "level": "WARNING"},
        "loggers": {
            name: {
                "level": lowest,
                "handlers": [],
                "filters": filters.get(name, []),
                "propagate": True,
            }
            for name, lowest in loggers.items()
        },
    }
