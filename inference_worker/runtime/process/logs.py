"""Logging of the worker process: one line per event, as text or JSON, in the platform's one form."""

from __future__ import annotations

import logging
import sys

from inference_worker.runtime.settings import WorkerSettings
from inference_worker.telemetry.lines import JsonFormatter, TextFormatter


def configure_logging(settings: WorkerSettings) -> None:
    """Send our own loggers, and warnings of libraries, to standard error; vLLM's keep their own form."""
    form = JsonFormatter if settings.log_format == "json" else TextFormatter
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(form(worker=settings.id))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel("WARNING")
    ours = logging.getLogger("cyllm")
    ours.handlers = []
    ours.propagate = True
    ours.setLevel(settings.log_level)
