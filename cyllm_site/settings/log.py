"""Levels and formats of the loggers."""

from __future__ import annotations

from typing import Any


def logging_settings(level: str, form: str) -> dict[str, Any]:
    """Return the ``LOGGING`` setting. ``level`` applies to the platform's loggers, all below ``cyllm``."""
    formatter = f"inference_worker.telemetry.log_formatters.{'Json' if form == 'json' else 'Text'}Formatter"
    loggers = {
        "cyllm": level,
        "django": "INFO",
        "django.request": "ERROR",
        # Would log a traceback for every request with a forged Host header.
        "django.security.DisallowedHost": "CRITICAL",
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
        "celery.app.trace": "WARNING",
        "celery.worker.strategy": "WARNING",
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": formatter}},
        "handlers": {
            "console": {
                "class": "inference_worker.telemetry.log_output.QueuedHandler",
                "formatter": "line",
            }
        },
        "root": {"handlers": ["console"], "level": "WARNING"},
        "loggers": {
            name: {"level": lowest, "handlers": [], "propagate": True} for name, lowest in loggers.items()
        },
    }
