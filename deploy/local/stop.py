"""``python -m deploy.local.stop``: stop the local stack of this checkout and wait until it is down."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from deploy.local.processes.lock import lock_holder

TIMEOUT_S = 120.0


def stop_stack(lock: Path, *, timeout_s: float = TIMEOUT_S) -> bool:
    """Send SIGTERM to the holder of the lock and wait; return False on timeout."""
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
    """Run the command; the exit status is 0 once nothing is running."""
    root = Path(__file__).resolve().parents[2]
    lock = Path(os.environ.get("CYLLM_STATE_DIR") or root / ".cyllm") / "lock"
    if lock_holder(lock) is None:
        print("no stack is running in this folder")
        return 0
    if stop_stack(lock):
        print("stopped")
        return 0
    print(f"the stack is still running after {TIMEOUT_S:.0f} s", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
