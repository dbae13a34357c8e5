"""Command and environment of the trainer, without the platform's secrets and with few threads."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from django.conf import settings

from training.child_process import child_command, child_environment


def trainer_command(spec: Path) -> list[str]:
    """Return the command line, which dies with the calling thread."""
    command = shlex.split(settings.CYLLM.training_command) or [sys.executable, "-m", "training.engine", "run"]
    return child_command([*command, str(spec)])


def trainer_environment(threads: int | None, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the trainer's environment, without the platform's database URL and keys."""
    limits = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)} if threads else {}
    # A thread that spins at a barrier can keep the core from the thread it waits for, when serving is busy.
    return {**child_environment(environment), "OMP_WAIT_POLICY": "PASSIVE", **limits}


def default_threads() -> int:
    """Return the threads of a trainer on a CPU: half of the cores, but two if there are two.

    Its niceness leaves the cores to serving processes whenever they need them.
    """
    cores = len(os.sched_getaffinity(0))
    return settings.CYLLM.training_threads or max(min(cores, 2), cores // 2)
