"""The server of commands runs each like ``manage.py``: in a process with its own input, output and status."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.commands import CommandServer

KILL = "import os, sys; sys.stderr.write('last words'); sys.stderr.flush(); os.kill(os.getpid(), 9)"


@pytest.fixture(scope="module")
def server() -> Iterator[CommandServer]:
    server = CommandServer({})
    yield server
    server.close()


def run_program(server: CommandServer, program: str) -> str:
    """Run Python code as a command and return its output."""
    return server.run("shell", "--no-imports", "--command", program)


def test_commands_share_neither_input_nor_state(server: CommandServer) -> None:
    assert run_program(server, "import sys; print(len(sys.stdin.read()))") == "0\n"
    assert run_program(server, "import os; os.environ['SHARED'] = 'x'; os.chdir('/')") == ""
    assert run_program(server, "import os; print(os.environ.get('SHARED'), os.getcwd() == '/')") == (
        "None False\n"
    )


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("raise ValueError('broken')", "ValueError: broken"),
        ("import sys; sys.exit('refused')", "refused"),
        (KILL, "last words"),
    ],
)
def test_a_command_that_fails_is_an_assertion_with_its_messages(
    server: CommandServer, program: str, message: str
) -> None:
    with pytest.raises(AssertionError, match=message):
        run_program(server, program)
    assert run_program(server, "print(1)") == "1\n", "the server goes on"
