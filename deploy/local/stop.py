"""``python -m deploy.local.stop``: stops the local stack of this checkout and waits until it is down."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from deploy.local.processes.lock import lock_holder

TIMEOUT_S = 120.0


def stack_stop(lock: Path, *, timeout_s: float = TIMEOUT_S) -> bool:
    """Ask the holder of the lock to stop; False if it was still there after the time."""
    pid = lock_holder(lock)
    if pid is None:
        return True
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout_s
    while lock_holder(lock) == pid:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def main() -> int:
    """The command: 0 if nothing runs any more."""
    root = Path(__file__).resolve().parents[2]
    if stack_stop(Path(os.environ.get("CYLLM_STATE_DIR") or root / ".cyllm") / "lock"):
        print("nothing runs here any more")
        return 0
    print(f"the stack still runs after {TIMEOUT_S:.0f} s", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
