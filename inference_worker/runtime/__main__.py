"""``python -m inference_worker.runtime``: one inference worker, set up by ``CYLLM_WORKER_`` names."""

from __future__ import annotations

import logging
import sys

import uvloop
from pydantic import ValidationError

from inference_worker.runtime.engine import EngineStartError
from inference_worker.runtime.logs import configure_logging
from inference_worker.runtime.orphans import end_with_parent
from inference_worker.runtime.settings import WorkerSettings
from inference_worker.runtime.worker import serve

if __name__ == "__mp_main__":
    # This module is imported again by every engine process that is spawned rather than forked.
    end_with_parent()


def main() -> int:
    """Run until told to stop; the exit status is 0 after a drain, 1 on a failed engine, 2 on settings."""
    try:
        settings = WorkerSettings()
    except ValidationError as error:
        print("The worker can't start with these settings:", file=sys.stderr)
        for fault in error.errors():
            name = str(fault["loc"][0])
            print(
                f"  {name if name.isupper() else 'CYLLM_WORKER_' + name.upper()}: {fault['msg']}",
                file=sys.stderr,
            )
        return 2
    configure_logging(settings)
    try:
        uvloop.run(serve(settings))
    except EngineStartError as error:
        logging.getLogger("cyllm.worker").error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
