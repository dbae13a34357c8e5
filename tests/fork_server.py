"""A process that has loaded what many programs need, and forks a child for each of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class ProgramEnd:
    """The end of a program. ``status``: its exit status, or the negative number of a signal."""

    status: int
    output: str
    messages: str


class ForkServer:
    """Runs programs in children of ``python -m MODULE``, which calls ``serve``. It starts with the first."""

    def __init__(self, module: str, environment: Mapping[str, str]) -> None:
        self._module, self._environment = module, dict(environment)
        self._process: subprocess.Popen[str] | None = None

    def run(self, request: Any) -> ProgramEnd:
        """Run the program of a request, which is a JSON value, and wait for its end."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._module],
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"{self._module} has ended"
        return ProgramEnd(*json.loads(line))

    def close(self) -> None:
        """End the server, if it has started."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()


def serve(run: Callable[[Any], int]) -> None:
    """Answer each request with the end of a child that returns ``run(request)`` as its exit status."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    for line in sys.stdin:
        print(json.dumps(_fork_and_run(run, json.loads(line))), file=answers, flush=True)


def _fork_and_run(run: Callable[[Any], int], request: Any) -> tuple[int, str, str]:
    """Return the exit status, the output and the messages of a child."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as messages:
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # the server's input has the next requests
            os.dup2(output.fileno(), 1)
            os.dup2(messages.fileno(), 2)
            status = run(request)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        _, state = os.waitpid(child, 0)
        output.seek(0)
        messages.seek(0)
        return os.waitstatus_to_exitcode(state), output.read(), messages.read()
