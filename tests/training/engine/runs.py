"""Runs of the trainer for tests: data, specs, runs in this process and in processes that can be killed.

``python -m tests.training.engine.runs`` loads the libraries once and forks a process for each run: see
``AttemptServer``.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from tests.patience import PATIENCE_S
from training.engine.control import ManualControl
from training.engine.events import Choice, Progress, TrainerEvent, decode_event, encode
from training.engine.spec import TrainingSpec

Event = TypeVar("Event", bound=TrainerEvent)
ADAPTER = "adapter_model.safetensors"


# ---- data and specs ----


def write_chats(path: Path, count: int, *, words: Sequence[int] = (3, 9, 20), answer: str = "zebra ") -> Path:
    """Write conversations of different lengths, the same for equal arguments."""
    with path.open("w") as file:
        for number in range(count):
            question = f"Question {number}: " + "why " * words[number % len(words)]
            messages = [
                {"role": "user", "content": question},
                {"role": "assistant", "content": answer * (1 + number % 4) + str(number % 3)},
            ]
            file.write(json.dumps({"messages": messages}) + "\n")
    return path


def make_spec(folder: Path, model: Path, **changes: Any) -> TrainingSpec:
    """Return a short run on 12 conversations: 6 steps in 2 epochs, unless changed.

    ``validation``: number of conversations of a validation file; ``options``: changes of the options.
    """
    folder.mkdir(parents=True, exist_ok=True)
    training = folder / "training.jsonl"
    if not training.exists():
        write_chats(training, changes.pop("examples", 12))
    changes.pop("examples", None)
    validation = None
    if count := changes.pop("validation", 0):
        validation = str(write_chats(folder / "validation.jsonl", count))
    settings: dict[str, Any] = {
        "job_id": "ftjob-test",
        "attempt": 1,
        "base_model": str(model),
        "training_file": str(training),
        "validation_file": validation,
        "work_dir": str(folder / "work"),
        "seed": 7,
        "epochs": 2,
        "batch_size": 4,
        "learning_rate": 5e-3,
        "threads": 1,
    }
    return msgspec.convert(settings | changes, TrainingSpec)


# ---- runs in this process ----


@dataclass
class Recorder:
    """Keeps events. ``react``: called with each."""

    events: list[TrainerEvent] = field(default_factory=list)
    react: Callable[[TrainerEvent], None] = lambda _: None

    def send(self, event: TrainerEvent) -> None:
        """Keep an event."""
        self.events.append(decode_event(encode(event)))
        self.react(event)


@dataclass
class Outcome:
    """Events of a run."""

    events: list[TrainerEvent]

    def of(self, kind: type[Event]) -> list[Event]:
        """Return the events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def one(self, kind: type[Event]) -> Event:
        """Return the only event of a kind."""
        (event,) = self.of(kind)
        return event

    def choice(self, subject: str) -> Choice:
        """Return the last choice of a subject."""
        return [event for event in self.of(Choice) if event.subject == subject][-1]

    @property
    def losses(self) -> dict[int, float]:
        """Loss by step."""
        return {event.step: event.loss for event in self.of(Progress)}


def run_here(
    spec: TrainingSpec,
    react: Callable[[TrainerEvent], None] = lambda _: None,
    control: ManualControl | None = None,
) -> Outcome:
    """Run an attempt in this process."""
    from training.engine.run import run

    recorder = Recorder(react=react)
    run(spec, recorder, control or ManualControl())
    return Outcome(recorder.events)


def adapter_bytes(folder: Path) -> bytes:
    """Return the adapter in a folder as bytes."""
    return (folder / ADAPTER).read_bytes()


# ---- runs in processes of their own ----


@dataclass(frozen=True)
class AttemptEnd:
    """The end of a forked attempt.

    ``status``: exit status, or the negative number of a signal. ``event_peaks``: for each event, the peak
    memory in bytes until it was sent.
    """

    outcome: Outcome
    status: int
    peak_bytes: int
    event_peaks: Sequence[int]


class AttemptServer:
    """A process that forks one process per attempt, so that attempts need not load the libraries again."""

    def __init__(self) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )

    def run(self, spec: TrainingSpec, **faults: Any) -> AttemptEnd:
        """Run an attempt. ``faults``: see ``Faults``."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"spec": msgspec.to_builtins(spec), "faults": faults}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        sent_events: list[TrainerEvent] = []
        peaks: list[int] = []
        while line := self._process.stdout.readline():
            kind, *numbers = line.split()
            if kind == "end":
                status, peak = map(int, numbers)
                return AttemptEnd(Outcome(sent_events), status, peak, peaks)
            if kind == "peak":
                peaks.append(int(numbers[0]))
            else:
                sent_events.append(decode_event(line.encode()))
        raise AssertionError("the server of attempts has died")

    def close(self) -> None:
        """End the server."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE_S)
        assert self._process.stdout is not None
        self._process.stdout.close()


@contextmanager
def attempt_server() -> Iterator[AttemptServer]:
    """Start a server, and end it."""
    server = AttemptServer()
    try:
        yield server
    finally:
        server.close()


@dataclass(frozen=True)
class Faults:
    """Faults of an attempt.

    ``kill_at_event``: SIGKILL itself before sending this event, counted from 1. ``kill_at_write``: SIGKILL
    itself at the n-th sync, rename or removal. ``memory_bytes``: address space beyond that of the start.
    ``file_bytes``: largest file it may write.
    """

    kill_at_event: int | None = None
    kill_at_write: int | None = None
    memory_bytes: int | None = None
    file_bytes: int | None = None


class _Killer:
    """Kills this process at the n-th call."""

    def __init__(self, number: int) -> None:
        self._left = number

    def count(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def _wrap(owner: Any, name: str, killer: _Killer) -> None:
    original = getattr(owner, name)

    def wrapped(*arguments: Any, **options: Any) -> Any:
        killer.count()
        return original(*arguments, **options)

    setattr(owner, name, wrapped)


def _inject(faults: Faults) -> Callable[[TrainerEvent], None]:
    if faults.kill_at_write:
        import shutil

        killer = _Killer(faults.kill_at_write)
        for owner, name in ((os, "fsync"), (Path, "rename"), (shutil, "rmtree")):
            _wrap(owner, name, killer)
    if faults.memory_bytes:
        import psutil

        limit = psutil.Process().memory_info().vms + faults.memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    if faults.file_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (faults.file_bytes, faults.file_bytes))
    event_killer = _Killer(faults.kill_at_event or -1)
    return lambda _: event_killer.count()


def _attempt(request: dict[str, Any], output: int) -> int:
    from training.engine.run import run

    before = _inject(Faults(**request["faults"]))

    class Stream:
        def send(self, event: TrainerEvent) -> None:
            before(event)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            os.write(output, encode(event) + f"peak {peak}\n".encode())

    spec = msgspec.convert(request["spec"], TrainingSpec)
    return 0 if run(spec, Stream(), ManualControl()) else 1


def _serve() -> None:
    from training.engine.event_stream import claim_stdout

    output = claim_stdout()
    import training.engine.run  # noqa: F401 - so that forked attempts have it

    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            status = 70
            try:
                status = _attempt(json.loads(line), output)
            finally:
                os._exit(status)
        _, state, usage = os.wait4(child, 0)
        status = os.waitstatus_to_exitcode(state)
        os.write(output, f"end {status} {usage.ru_maxrss * 1024}\n".encode())


if __name__ == "__main__":
    _serve()
