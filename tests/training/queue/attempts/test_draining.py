"""The shutdown of a training worker is announced in a signal handler, which may interrupt another one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.patience import PATIENCE_S

ROOT = Path(__file__).resolve().parents[4]
SIGNALLED_PROGRAM = """
import signal
from training.supervisor.celery_signals import DRAINING, drain

signals = []

def handle(*_):
    signals.append(None)
    drain()

signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.0005)
while len(signals) < 1000:
    DRAINING.set()
signal.setitimer(signal.ITIMER_REAL, 0)
print(DRAINING.is_set())
"""


def test_a_signal_in_the_midst_of_the_announcement_does_not_block_the_worker() -> None:
    program = [sys.executable, "-c", SIGNALLED_PROGRAM]
    output = subprocess.run(program, cwd=ROOT, stdout=subprocess.PIPE, timeout=PATIENCE_S, check=True).stdout
    assert output == b"True\n"
