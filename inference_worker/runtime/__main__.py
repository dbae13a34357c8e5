"""``python -m inference_worker.runtime``: one inference worker, configured by ``CYLLM_WORKER_`` variables."""

from __future__ import annotations

import logging
import sys

import uvloop

from inference_worker.runtime.calls.engine import EngineFailedError
from inference_worker.runtime.parent_death import bind_children_to_parent
from inference_worker.runtime.process.logs import configure_logging
from inference_worker.runtime.process.worker import serve
from inference_worker.runtime.settings import SettingsError, worker_settings


def main() -> int:
    """Run the worker. Return 0 after a drain, 1 if the engine failed, 2 if the settings are wrong."""
    bind_children_to_parent()
    try:
        settings = worker_settings()
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    configure_logging(settings)
    try:
        uvloop.run(serve(settings))
    except EngineFailedError as error:
        logging.getLogger("cyllm.worker").error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
