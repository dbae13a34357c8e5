"""Logging of the worker process: one line per event, as text or JSON."""

from __future__ import annotations

import json
import logging
import sys
import time

from inference_worker.runtime.settings import WorkerSettings


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, logger, worker, message."""

    def __init__(self, worker_id: str) -> None:
        super().__init__()
        self._worker_id = worker_id

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "worker": self._worker_id,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configure_logging(settings: WorkerSettings) -> None:
    """Send our own loggers to standard error; the engine's keep their own form."""
    handler = logging.StreamHandler(sys.stderr)
    if settings.log_format == "json":
        handler.setFormatter(JsonFormatter(settings.id))
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger("cyllm")
    root.handlers = [handler]
    root.propagate = False
    root.setLevel(settings.log_level)
