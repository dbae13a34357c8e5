"""Processes that a killed training worker left behind: helpers of a trainer that outlived it."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from training.supervisor.folders import job_folder_names, training_root

logger = logging.getLogger("cyllm.training")

RECORD_FILE = "trainer.json"


@dataclass(frozen=True, slots=True)
class TrainerRecord:
    """The session of a trainer, and the training worker that started it.

    ``boot``, ``pid_namespace``: the system start and the namespace in which the process ids mean something.
    """

    host: str
    boot: str
    pid_namespace: int
    session: int
    started: float
    worker: int
    worker_started: float


def trainer_record(folder: Path, session: int) -> None:
    """Record a trainer that this process has started. ``session``: its process id."""
    worker = psutil.Process()
    try:
        started_at = psutil.Process(session).create_time()
    except psutil.NoSuchProcess:
        return
    record = TrainerRecord(*_place(), session, started_at, worker.pid, worker.create_time())
    (folder / RECORD_FILE).write_text(json.dumps(asdict(record)))


def trainer_record_remove(folder: Path) -> None:
    """Remove the record of a trainer that has ended: its process id may soon be another's."""
    with suppress(OSError):  # then the record's other checks must suffice
        (folder / RECORD_FILE).unlink(missing_ok=True)


def orphans_end() -> int:
    """Kill the processes of trainers on this host whose training worker has died. Returns their number."""
    return sum(_end_orphans(training_root() / name / RECORD_FILE) for name in job_folder_names())


def _end_orphans(path: Path) -> int:
    record = _read(path)
    if record is None or (record.host, record.boot, record.pid_namespace) != _place() or _is_alive(record):
        return 0
    if _is_reused(record):
        path.unlink(missing_ok=True)
        return 0
    count = 0
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, PermissionError, psutil.NoSuchProcess):
            # A session id isn't reused while a process has it, and an older process can't belong to it.
            if os.getsid(process.pid) == record.session and process.create_time() >= record.started:
                os.kill(process.pid, signal.SIGKILL)
                count += 1
    path.unlink(missing_ok=True)
    if count:
        logger.warning("killed %d processes that a dead training worker had left behind", count)
    return count


def _read(path: Path) -> TrainerRecord | None:
    try:
        return TrainerRecord(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _place() -> tuple[str, str, int]:
    """Return host name, id of the system's start and the inode of the process ids' namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return socket.gethostname(), boot, Path("/proc/self/ns/pid").stat().st_ino
    except OSError:  # not Linux
        return socket.gethostname(), str(psutil.boot_time()), 0


def _is_reused(record: TrainerRecord) -> bool:
    """Return whether the trainer's process id now belongs to another process."""
    try:
        return psutil.Process(record.session).create_time() != record.started
    except psutil.NoSuchProcess:
        return False


def _is_alive(record: TrainerRecord) -> bool:
    try:
        process = psutil.Process(record.worker)
        return process.create_time() == record.worker_started and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
