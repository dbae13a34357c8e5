"""Runs ``manage.py`` commands in the test's process, or with the environment of a stack.

``python -m tests.commands`` loads Django once and forks a process for each command: see ``CommandServer``.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.core.management import call_command

ROOT = Path(__file__).resolve().parents[1]


def run(*arguments: str) -> str:
    """Run a command; return its output."""
    out = io.StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def run_json(*arguments: str) -> Any:
    """Run a command with ``--json``; return the decoded output."""
    return json.loads(run(*arguments, "--json"))


class CommandServer:
    """Runs commands in processes of their own with one environment. It starts with the first command."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = {
            **os.environ,
            **environment,
            "DJANGO_SETTINGS_MODULE": "cyllm_site.settings.base",
        }
        self._process: subprocess.Popen[str] | None = None

    def run(self, *arguments: str) -> str:
        """Run a command and return its output. Raises AssertionError with its messages if it fails."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.commands"],
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(arguments) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the server of commands has ended"
        status, output, messages = json.loads(line)
        assert status == 0, messages
        return str(output)

    def close(self) -> None:
        """End the server, if it has started."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()


def _exit_status(arguments: list[str]) -> int:
    """Run a command as ``manage.py`` does, and return its exit status."""
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(["manage.py", *arguments])
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _fork_and_run(arguments: list[str]) -> tuple[int, str, str]:
    """Return a command's exit status, output and messages."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as messages:
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # the server's input has the next commands
            os.dup2(output.fileno(), 1)
            os.dup2(messages.fileno(), 2)
            status = _exit_status(arguments)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        _, state = os.waitpid(child, 0)
        output.seek(0)
        messages.seek(0)
        return os.waitstatus_to_exitcode(state), output.read(), messages.read()


def _serve() -> None:
    import django

    django.setup()
    for line in sys.stdin:
        print(json.dumps(_fork_and_run(json.loads(line))), flush=True)


if __name__ == "__main__":
    _serve()
