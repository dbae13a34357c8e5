"""Progress output on a terminal and in a file."""

from __future__ import annotations

import io
import re

import pytest

from deploy.local.progress import CLEAR_LINE, Terminal


class _InteractiveOutput(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_each_stage_is_numbered_and_timed() -> None:
    out = io.StringIO()
    terminal = Terminal(9, out)
    for name in ("valkey", "postgres"):
        with terminal.stage(name) as stage:
            stage.result = "ready"
    lines = out.getvalue().splitlines()
    assert re.fullmatch(r"\[ 1/9\] valkey … ready in 0\.\d s", lines[0])
    assert re.fullmatch(r"\[ 2/9\] postgres … ready in 0\.\d s", lines[1])
    assert len(lines) == 2


def test_a_file_has_each_note_once_and_no_control_characters() -> None:
    out = io.StringIO()
    with Terminal(1, out).stage("worker") as stage:
        for note in ("importing", "importing", "loading weights"):
            stage.note(note)
    assert "\r" not in out.getvalue()
    assert [line.split("… ")[1].split(",")[0] for line in out.getvalue().splitlines()[:2]] == [
        "importing",
        "loading weights",
    ]


def test_a_terminal_has_one_line_that_is_rewritten() -> None:
    out = _InteractiveOutput()
    with Terminal(1, out).stage("worker") as stage:
        stage.note("importing")
        stage.note("importing")
        stage.result = "ready"
    assert out.getvalue().count("\n") == 1
    assert out.getvalue().count(CLEAR_LINE) == 4


def test_a_failing_stage_is_reported() -> None:
    out = io.StringIO()
    with pytest.raises(OSError, match="broken"), Terminal(1, out).stage("model"):
        raise OSError("broken")
    assert "[ 1/1] model … failed after" in out.getvalue()
