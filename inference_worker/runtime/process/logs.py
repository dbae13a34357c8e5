"""Logging of the worker process: one line per event, as text or JSON, in the platform's format."""

from __future__ import annotations

import logging

from inference_worker.runtime.settings import WorkerSettings
from inference_worker.telemetry.log_formatters import JsonFormatter, TextFormatter
from inference_worker.telemetry.log_output import QueuedHandler


def configure_logging(settings: WorkerSettings) -> None:
    """Log the platform's messages and libraries' warnings to standard error. vLLM keeps its own format."""
    formatter = JsonFormatter if settings.log_format == "json" else TextFormatter
    handler = QueuedHandler()
    handler.setFormatter(formatter(worker=settings.id))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel("WARNING")
    platform = logging.getLogger("cyllm")
    platform.handlers = []
    platform.propagate = True
    platform.setLevel(settings.log_level)
    for name, level in settings.log_levels.items():
        logging.getLogger(name).setLevel(level)
