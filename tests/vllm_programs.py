"""Programs in processes that have loaded vLLM, whose import takes many seconds of processor time."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fork_server import ForkServer, serve


class VllmPrograms:
    """Runs Python code that uses vLLM."""

    def __init__(self) -> None:
        self._server = ForkServer("tests.vllm_programs", {**os.environ, "VLLM_LOGGING_LEVEL": "ERROR"})

    def run(self, code: str, *arguments: str) -> str:
        """Run a program with arguments and return its output. Raises AssertionError if it fails."""
        end = self._server.run([code, *arguments])
        assert end.status == 0, end.messages[-3000:]
        return end.output

    def close(self) -> None:
        """End the server, if it has started."""
        self._server.close()


@pytest.fixture(scope="session")
def vllm_programs() -> Iterator[VllmPrograms]:
    """One process for all programs of a session."""
    programs = VllmPrograms()
    yield programs
    programs.close()


def _exit_status(request: list[Any]) -> int:
    code, *arguments = request
    sys.argv = ["-c", *arguments]
    try:
        exec(compile(code, "<program>", "exec"), {"__name__": "__main__"})  # noqa: S102
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    import vllm.entrypoints.launchers.app
    import vllm.entrypoints.launchers.cli_args
    import vllm.parser.parser_manager  # noqa: F401

    serve(_exit_status)
