"""Runs ``manage.py`` commands in the test's process, or with the environment of a stack.

``python -m tests.commands`` loads Django once and forks a process for each command: see ``CommandServer``.
"""

from __future__ import annotations

import io
import json
import os
import sys
import traceback
from collections.abc import Mapping
from typing import Any

from django.core.management import call_command

from tests.fork_server import ForkServer, serve


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
        django_settings = {"DJANGO_SETTINGS_MODULE": "cyllm_site.settings.base"}
        self._server = ForkServer("tests.commands", {**os.environ, **environment, **django_settings})

    def run(self, *arguments: str) -> str:
        """Run a command and return its output. Raises AssertionError with its messages if it fails."""
        end = self._server.run(arguments)
        assert end.status == 0, end.messages
        return end.output

    def close(self) -> None:
        """End the server, if it has started."""
        self._server.close()


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


if __name__ == "__main__":
    import django

    django.setup()
    serve(_exit_status)
