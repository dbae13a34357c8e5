"""Django's logging settings: which logger writes from which level on, and in which form."""

from __future__ import annotations

from typing import Any


def logging_settings(level: str, form: str) -> dict[str, Any]:
    """The ``LOGGING`` setting. ``level`` is for our own loggers, which are all below ``cyllm``."""
    formatter = f"inference_worker.telemetry.lines.{'Json' if form == 'json' else 'Text'}Formatter"
    loggers = {
        "cyllm": level,
        "django": "INFO",
        "django.request": "ERROR",
        # A traceback for every request with a made-up Host; it is answered with 400 all the same.
        "django.security.DisallowedHost": "CRITICAL",
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
