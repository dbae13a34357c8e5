"""Logging never blocks: a process whose output nobody reads keeps serving and stops on a signal."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from inference_worker.telemetry.log_output import QueuedHandler
from tests.patience import PATIENCE_S
from tests.ports import reserved_port
from tests.site_server import database_url, is_alive

ROOT = Path(__file__).resolve().parents[3]
PIPE_BYTES = 2**16


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe: the descriptors to read from and to write to."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def _logger(handler: logging.Handler) -> logging.Logger:
    logger = logging.Logger("cyllm.test")
    logger.addHandler(handler)
    return logger


def test_lines_are_written_in_order(pipe: tuple[int, int]) -> None:
    handler = QueuedHandler(pipe[1])
    for number in range(100):
        _logger(handler).info("line %d", number)
    handler.flush()
    assert os.read(pipe[0], PIPE_BYTES).decode().splitlines() == [f"line {number}" for number in range(100)]


def test_lines_beyond_the_bound_are_dropped_and_counted(pipe: tuple[int, int]) -> None:
    handler = QueuedHandler(pipe[1], max_bytes=2 * PIPE_BYTES)
    logger = _logger(handler)
    line = "x" * 999
    for _ in range(1000):
        logger.info(line)
    output = b""
    while b"dropped" not in output:
        output += os.read(pipe[0], PIPE_BYTES)
    *lines, last_line = output.decode().splitlines()
    assert set(lines) == {line}
    assert last_line == f"{1000 - len(lines)} log lines were dropped: the log output was not read in time"


def test_an_output_without_a_reader_discards_lines() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    handler = QueuedHandler(write_end)
    _logger(handler).info("lost")
    handler.flush()
    os.close(write_end)
    assert handler._queued_bytes == 0


def test_a_line_that_cannot_be_encoded_is_written_escaped(pipe: tuple[int, int]) -> None:
    handler = QueuedHandler(pipe[1])
    _logger(handler).info("a lone %s", "\ud800")
    handler.flush()
    assert os.read(pipe[0], PIPE_BYTES) == b"a lone \\ud800\n"


def test_a_record_that_cannot_be_formatted_is_reported_with_its_location(pipe: tuple[int, int]) -> None:
    handler = QueuedHandler(pipe[1])
    _logger(handler).info("%d is no number", "x")
    handler.flush()
    assert b"test_log_output.py" in (line := os.read(pipe[0], PIPE_BYTES))
    assert line.endswith(b"a log record can't be formatted: TypeError\n")


def test_a_forked_process_writes_its_own_lines_only(pipe: tuple[int, int]) -> None:
    handler = QueuedHandler(pipe[1])
    logger = _logger(handler)
    logger.info("parent")
    handler.flush()
    if (pid := os.fork()) == 0:
        logger.info("child")
        handler.flush()
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(pipe[0], PIPE_BYTES) == b"parent\nchild\n"


def test_lines_of_several_threads_stay_whole(pipe: tuple[int, int]) -> None:
    handler = QueuedHandler(pipe[1])
    logger = _logger(handler)

    def log_lines() -> None:
        for _ in range(100):
            logger.info("y" * 60)

    threads = [threading.Thread(target=log_lines) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    handler.flush()
    assert os.read(pipe[0], PIPE_BYTES).decode().splitlines() == ["y" * 60] * 800


SIGNALLED_PROGRAM = """
import logging, os, signal, sys
from inference_worker.telemetry.log_output import QueuedHandler

handler = QueuedHandler(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT), max_bytes=2**30)
logger = logging.Logger("cyllm.test")
logger.addHandler(handler)
signals = []

def log_signal(*_):
    signals.append(None)
    logger.info("signal")

signal.signal(signal.SIGALRM, log_signal)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.0001)
while len(signals) < 3000:
    logger.info("line")
signal.setitimer(signal.ITIMER_REAL, 0)
handler.flush()
print(len(signals))
"""


@pytest.mark.case("robustness.10")
def test_a_signal_handler_may_log_in_the_midst_of_a_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    output = subprocess.run(
        [sys.executable, "-c", SIGNALLED_PROGRAM, log],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        timeout=PATIENCE_S,
        check=True,
    ).stdout
    lines = log.read_text().splitlines()
    assert set(lines) == {"line", "signal"}
    assert lines.count("signal") == int(output)


@pytest.mark.case("robustness.10")
def test_a_gateway_whose_output_is_not_read_serves_and_stops(
    django_db_setup: None, postgres_url: str, redis_url: str
) -> None:
    port = reserved_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "cyllm_site.serve", "--port", str(port), "--graceful-s", "1"],
        env={**os.environ, "CYLLM_DATABASE_URL": database_url()},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        while not is_alive(port):
            assert process.poll() is None
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) as client:
            headers = {"X-Request-ID": "r" * 60}
            # Each response is a line of about 200 bytes, so the pipe is full after some 320.
            assert {client.get("/v1/models", headers=headers).status_code for _ in range(700)} == {401}
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) in (0, -signal.SIGTERM)
    finally:
        process.kill()
        assert process.stdout is not None
        process.stdout.close()
        process.wait()
