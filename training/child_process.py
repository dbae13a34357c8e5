"""Child processes for work on data of tenants: no secrets, low priority, limits, and never orphaned."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from inference_worker.runtime.parent_death import parent_bound_command

logger = logging.getLogger("cyllm.training")

ROOT = Path(__file__).resolve().parents[1]
NICENESS = 10
# Exit codes of a child, or of its launcher, after SIGKILL: the kernel sends it when memory runs out.
SIGKILL_CODES = (-signal.SIGKILL, 128 + signal.SIGKILL)
POLL_S = 0.2
AUTOGROUP_TRIES, AUTOGROUP_WAIT_S = 5, 0.12
INHERITED_NAMES = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV"}
)
INHERITED_PREFIXES = ("LC_", "CUDA_", "NVIDIA_", "NCCL_", "ROCR_", "HIP_", "PYTORCH_", "TORCH_", "TRITON_")


@dataclass(frozen=True, slots=True)
class ChildResult:
    """The end of a child process. ``code`` is negative for a signal."""

    code: int
    output: bytes
    errors: bytes

    @property
    def last_line(self) -> str:
        """The last line of its standard error, cut to 200 characters."""
        return self.errors.decode(errors="replace").strip().rpartition("\n")[2][:200]


def child_command(argv: Sequence[str]) -> list[str]:
    """Return the command line of a child that is killed when the thread that starts it ends."""
    return parent_bound_command(argv, death_signal=signal.SIGKILL)


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a child, without the platform's database URL and keys."""
    variables = {
        name: value
        for name, value in environment.items()
        if name in INHERITED_NAMES or name.startswith(INHERITED_PREFIXES)
    }
    return {
        **variables,
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        # Models come from folders; nothing is downloaded.
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def limit_child(pid: int, *, memory_bytes: int | None = None) -> None:
    """Lower the priority of a child that may have ended, and limit its address space where Linux allows.

    The child must lead a session of its own.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, NICENESS)
        if memory_bytes is not None and hasattr(resource, "prlimit"):
            resource.prlimit(pid, resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    lower_session(pid, NICENESS)


def lower_session(pid: int, niceness: int, *, sessions: int = 1) -> None:
    """Set the niceness of a process's session where Linux shares processors among sessions (autogroups).

    There a process's own niceness only counts within its session. ``sessions``: number of
    sessions that are lowered at the same time.
    """
    for _ in range(AUTOGROUP_TRIES * sessions):
        try:
            Path(f"/proc/{pid}/autogroup").write_text(str(niceness))
            return
        except BlockingIOError:  # Linux takes one such change per 0.1 s, from all its users together
            time.sleep(AUTOGROUP_WAIT_S)
        except OSError:  # there are no autogroups, or the process has ended
            return
    logger.warning("the priority of process %d's session could not be lowered", pid)


def run_child(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    check: Callable[[], None] = lambda: None,
    timeout_s: float | None = None,
    memory_bytes: int | None = None,
) -> ChildResult:
    """Run a command to its end. ``check`` is called at intervals; if it raises, the command is killed.

    It is called once more if a signal ended the command, because one that stops the caller may also reach its
    children. Raises TimeoutError after the time limit, OSError if the command can't be started.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            child_command(argv),
            env=dict(environment),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,  # a Ctrl-C is for the caller, which ends its children itself
        )
        try:
            limit_child(process.pid, memory_bytes=memory_bytes)
            code = _wait(process, check, timeout_s)
            if code < 0:
                check()
        finally:
            process.kill()
            process.wait()
        output.seek(0)
        errors.seek(0)
        return ChildResult(code, output.read(), errors.read())


def _wait(process: subprocess.Popen[bytes], check: Callable[[], None], timeout_s: float | None) -> int:
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(POLL_S)
        check()
        if deadline is not None and time.monotonic() > deadline:
            raise TimeoutError(f"the process has not ended within {timeout_s:g} s")


async def run_child_async(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    timeout_s: float,
    memory_bytes: int | None = None,
) -> ChildResult:
    """Run a command to its end without blocking the event loop. A cancellation kills it.

    Raises TimeoutError after the time limit, OSError if the command can't be started. Runs in a thread: the
    end of asyncio's own processes waits for their pipes, and a cancelled reader never closes them.
    """
    is_cancelled = threading.Event()

    def check() -> None:
        if is_cancelled.is_set():
            raise asyncio.CancelledError

    run = partial(
        run_child,
        argv,
        environment=environment,
        check=check,
        timeout_s=timeout_s,
        memory_bytes=memory_bytes,
    )
    thread = asyncio.ensure_future(asyncio.to_thread(run))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        is_cancelled.set()
        await asyncio.wait([thread])
        raise
