"""The trainer as a child process that misbehaves: the supervisor stays in control."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.processes import is_dead
from tests.stacks import wait_until
from training.child_process import ROOT
from training.datasets.tokens.probes import PROBE_TOKENS, PROBES
from training.engine import events
from training.supervisor.trainer.process import JUNK_LOG_LINES, STDERR_LINE_CHARS, TrainerProcess

WARNED = events.Warned(code="a", message="b")
PRELUDE = f"import os, time\nevent = {events.encode(WARNED)!r}\n"


@contextmanager
def trainer(code: str, folder: Path) -> Iterator[TrainerProcess]:
    """Run a trainer's code."""
    descriptor = os.open(folder / "lock", os.O_CREAT | os.O_RDWR)
    process = TrainerProcess([sys.executable, "-c", PRELUDE + code], dict(os.environ), ROOT, descriptor)
    try:
        yield process
    finally:
        process.close()
        os.close(descriptor)


def follow(process: TrainerProcess, timeout_s: float) -> list[events.TrainerEvent]:
    """Return the events of a process until it has ended, as a supervisor does."""
    batches: list[events.TrainerEvent] = []
    deadline = time.monotonic() + timeout_s
    while True:
        batch = process.next_events(0.05)
        batches += batch
        if not batch and process.has_ended():
            return batches
        assert time.monotonic() < deadline, "the trainer never ends"


def test_all_events_of_a_trainer_that_has_ended_arrive(tmp_path: Path) -> None:
    with trainer("os.write(1, event * 3000)", tmp_path) as process:
        assert follow(process, 30) == [WARNED] * 3000


def test_the_end_of_a_run_with_the_longest_probes_arrives(tmp_path: Path) -> None:
    evaluation = events.Evaluation(step=1, loss=1.0, token_accuracy=0.5, perplexity=2.7, is_best=False)
    last_event = events.Finished(
        step=1,
        reason="completed",
        result_dir="result",
        trained_tokens=1,
        evaluated_on="training",
        base=evaluation,
        result=evaluation,
        probe_prompts=((2**31 - 1,) * PROBE_TOKENS,) * PROBES,
    )
    with trainer(f"os.write(1, {events.encode(last_event)!r})", tmp_path) as process:
        assert follow(process, 30) == [last_event]


@pytest.mark.case("training.26")
@pytest.mark.parametrize("escape", ["", "os.setsid()"])
def test_a_process_that_outlives_the_trainer_and_writes_on_is_no_trainer(tmp_path: Path, escape: str) -> None:
    code = f"""
if os.fork() == 0:
    {escape or "pass"}
    ends_at = time.monotonic() + 60
    while time.monotonic() < ends_at:
        os.write(1, event * 100)
os.write(1, event)
"""
    with trainer(code, tmp_path) as process:
        assert follow(process, 30)
        assert process.exit_code() == 0


def test_a_helper_that_holds_the_pipe_ends_with_the_trainer(tmp_path: Path) -> None:
    code = "pid = os.fork()\nif pid == 0: time.sleep(600)\nopen('%s', 'w').write(str(pid))" % (
        tmp_path / "pid"
    )
    with trainer(code, tmp_path) as process:
        assert follow(process, 30) == []
        helper = int((tmp_path / "pid").read_text())
        wait_until(lambda: is_dead(helper), "the helper has ended")


def test_lines_that_are_no_events_do_not_fill_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    code = r"for _ in range(100): os.write(1, b'x\n' * 1000)" + "\nos.write(1, event)"
    with caplog.at_level(logging.WARNING), trainer(code, tmp_path) as process:
        assert follow(process, 30) == [WARNED]
    assert len(caplog.records) == JUNK_LOG_LINES + 1
    assert caplog.messages[-1] == "further lines that are no events are not logged"


def test_the_last_state_of_a_progress_bar_and_no_part_of_a_secret_remain(tmp_path: Path) -> None:
    code = r"""
os.write(2, b"".join(b"%3d%%|loading the weights|\r" % percent for percent in range(101)) + b"\r\n")
os.write(2, b"x" * 480 + b" redis://user:a-long-password@host\n\n")
"""
    with trainer(code, tmp_path) as process:
        follow(process, 30)
    bar, line = process.stderr_tail
    assert bar == "100%|loading the weights|"
    assert line == ("x" * 480 + " redis://[masked]@host")[:STDERR_LINE_CHARS]


def test_a_trainer_that_reads_no_messages_does_not_stop_its_supervisor(tmp_path: Path) -> None:
    with trainer("time.sleep(600)", tmp_path) as process:
        for _ in range(20_000):  # more than the pipe takes
            process.send(events.Renew())
        process.kill()
        follow(process, 30)
