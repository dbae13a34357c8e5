"""The sides of a comparison: how each is started and measured."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.relay.load import Load, Result, StreamError, Target, mean_result, run_load
from tests.stacks import ROOT

MODEL = "benchmark"
# With short answers, the cost of a request outweighs that of its tokens.
LOADS = (Load(1, 512), Load(8, 256), Load(32, 128), Load(1, 8, 64), Load(8, 8, 24), Load(32, 8, 12))
MAX_REPEATS = max(load.repeats for load in LOADS)
MAX_NUM_SEQS = "128"
MAX_MODEL_LEN = "2048"

Measure = Callable[[int, int, int], Awaitable[Result]]


def worker_settings(model_path: Path) -> dict[str, str]:
    """Return the settings of a worker, from which the peers take the same engine arguments."""
    return {
        "CYLLM_WORKER_MODEL": MODEL,
        "CYLLM_WORKER_MODEL_PATH": str(model_path),
        "CYLLM_WORKER_MAX_NUM_SEQS": MAX_NUM_SEQS,
        "CYLLM_WORKER_MAX_MODEL_LEN": MAX_MODEL_LEN,
        "CYLLM_REDIS_URL": "",
    }


@contextmanager
def peer(model_path: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a process of ``benchmarks.relay.peers`` with these arguments."""
    environment = {**os.environ, **worker_settings(model_path), "CYLLM_REDIS_URL": "redis://unused"}
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.relay.peers", *arguments],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if arguments[0] == "bare" else log,
            stderr=log,
            text=True,
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)


def bare_engine(process: subprocess.Popen[str]) -> Measure:
    """Return the function that measures the engine in this process."""
    assert process.stdout is not None  # noqa: S101 - Popen opened a pipe
    _read_json_line(process)

    def request(streams: int, tokens: int, salt: int) -> Result:
        assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018
        process.stdin.write(json.dumps({"streams": streams, "tokens": tokens, "salt": salt}) + "\n")
        process.stdin.flush()
        return Result(**json.loads(_read_json_line(process)))

    async def measure(streams: int, tokens: int, salt: int) -> Result:
        return await asyncio.to_thread(request, streams, tokens, salt)

    return measure


def _read_json_line(process: subprocess.Popen[str]) -> str:
    """Return the next line that is JSON. vLLM logs to the same pipe."""
    assert process.stdout is not None  # noqa: S101 - Popen opened a pipe
    while not (line := process.stdout.readline()).startswith("{"):
        if process.poll() is not None:
            raise SystemExit("the bare engine exited")
    return line


def http_server(target: Target) -> Measure:
    """Return the function that measures a server."""

    async def measure(streams: int, tokens: int, salt: int) -> Result:
        return await run_load(target, streams, tokens, salt)

    return measure


async def wait_until_ready(measure: Measure, timeout_s: float = 180) -> None:
    """Wait until a side answers. Raises TimeoutError."""
    async with asyncio.timeout(timeout_s):
        while True:
            try:
                await measure(1, 8, -1)
                return
            except (OSError, StreamError):
                await asyncio.sleep(0.5)


async def measure_load(measure: Measure, load: Load, measurement: int) -> Result:
    """Measure a load. Each ``measurement`` has prompts of its own, so none hits cache entries of another."""
    first = measurement * MAX_REPEATS
    results = [await measure(load.streams, load.tokens, first + repeat) for repeat in range(load.repeats)]
    return mean_result(results)
