"""Celery's worker and beat wait while Valkey loads its data."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from deploy.local.servers.valkey import EmbeddedValkey
from tests.patience import PATIENCE_S
from tests.ports import reserved_port

ROOT = Path(__file__).resolve().parents[3]
KEYS = 3000
# The server answers after each that it has loaded: a key's value, which it can't compress, is as long.
ANSWER_BYTES = 1024
LOADING_MICROSECONDS_PER_KEY = "30000"  # 90 s in all, which the test cuts short


@pytest.fixture
def loading_valkey(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """A Valkey that loads its data for as long as the test needs it to."""
    server = EmbeddedValkey(data_dir=tmp_path / "valkey", port=reserved_port(), password="p" * 32)
    program = server.program()
    first = subprocess.Popen(program.argv, cwd=program.cwd, stdout=subprocess.DEVNULL)
    while not server.is_ready():
        time.sleep(0.05)
    with redis.Redis.from_url(server.url) as client:
        values = random.Random(0)
        client.mset({f"key{number}": values.randbytes(ANSWER_BYTES) for number in range(KEYS)})
        client.bgrewriteaof()
        while client.info("persistence")["aof_rewrite_in_progress"]:
            time.sleep(0.05)
    first.terminate()
    first.wait()
    delay = (
        "--key-load-delay",
        LOADING_MICROSECONDS_PER_KEY,
        "--loading-process-events-interval-bytes",
        str(ANSWER_BYTES),
    )
    second = subprocess.Popen([*program.argv, *delay], cwd=program.cwd, stdout=subprocess.DEVNULL)
    yield server
    second.kill()
    second.wait()


def wait_for_text(process: subprocess.Popen[bytes], log: Path, text: str) -> None:
    """Wait until the process has written a text to its log. Fails if it ends, or after a minute."""
    deadline = time.monotonic() + PATIENCE_S
    while text not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


@pytest.mark.case("robustness.12")
@pytest.mark.parametrize("command", [["worker", "--concurrency", "1"], ["beat", "--pidfile="]])
def test_celery_waits_for_a_loading_server(
    loading_valkey: EmbeddedValkey, command: list[str], tmp_path: Path
) -> None:
    with redis.Redis.from_url(loading_valkey.url) as client:
        while True:
            try:
                client.ping()
                raise AssertionError("the server does not load")
            except redis.exceptions.BusyLoadingError:
                break
            except redis.exceptions.ConnectionError:
                time.sleep(0.02)
    options = ("-s", str(tmp_path / "schedule")) if command[0] == "beat" else ()
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "cyllm_site", *command, "--loglevel", "INFO", *options],
            cwd=ROOT,
            env={
                **os.environ,
                "CYLLM_DATABASE_URL": "postgresql://a:b@127.0.0.1:1/none",
                "CYLLM_REDIS_URL": loading_valkey.url,
                "CYLLM_SECRET_KEY": "k" * 40,
            },
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for_text(process, log, "is loading the dataset in memory")
        with redis.Redis.from_url(loading_valkey.url) as client:
            client.config_set("key-load-delay", 0)
        while not loading_valkey.is_ready():
            time.sleep(0.05)
        if command[0] == "worker":
            wait_for_text(process, log, "Connected to redis")
        time.sleep(1)
        assert process.poll() is None, log.read_text()
        process.terminate()
        process.wait(PATIENCE_S)
    finally:
        process.kill()
        process.wait()
