"""One vLLM engine in a process of its own: its start, the order of waiting requests, the use of its cache."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
# The process ids of its compile sandboxes when the engine is ready. Then six requests of priority 3
# for two places in the batch, and one of priority 0: who ended when, and the use of the key-value cache
# meanwhile and at the end. Last, the prompt tokens of the shortest chat, and the tokens of an echo.
SCRIPT = """
import asyncio, json, os, pathlib
from inference_worker.protocol.messages import Operation
from inference_worker.runtime.calls.asgi_call import call_engine
from inference_worker.runtime.calls.meter import CallMeter, current_meter
from inference_worker.runtime.engines.hardware import detect_hardware
from inference_worker.runtime.engines.vllm_engine import vllm_engine
from inference_worker.runtime.settings import WorkerSettings

ends = []

def sandboxes():
    mark = f"CYLLM_TEST_RUN={os.environ['CYLLM_TEST_RUN']}\\0".encode()
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if b"compile_sandbox" in (process / "cmdline").read_bytes():
                if mark in (process / "environ").read_bytes():
                    yield int(process.name)
        except OSError:
            pass

async def complete(engine, name, priority, tokens):
    body = {"model": "tiny", "prompt": "a", "max_tokens": tokens, "ignore_eos": True, "priority": priority}
    status, reply = await call_engine(engine.app, Operation.COMPLETIONS, body, name)
    assert status == 200, reply
    ends.append(name)

async def main():
    stages = []
    async with vllm_engine(WorkerSettings(), detect_hardware(), stages.append) as engine:
        result = {"stages": stages.copy(), "sandboxes": [*sandboxes()]}
        first = [asyncio.create_task(complete(engine, f"queued {n}", 3, 200)) for n in range(6)]
        async with asyncio.timeout(30):
            while engine.running_requests < 6:
                await asyncio.sleep(0.01)
        await complete(engine, "urgent", 0, 2)
        busy_use = engine.kv_cache_use
        await asyncio.gather(*first)
        result |= {"ends": ends, "busy_use": busy_use, "idle_use": engine.kv_cache_use}
        chat = {"model": "tiny", "messages": [{"role": "user", "content": "1"}], "max_tokens": 1}
        status, reply = await call_engine(engine.app, Operation.CHAT_COMPLETIONS, chat, "chat")
        prompt_tokens = json.loads(reply)["usage"]["prompt_tokens"]
        result |= {"template_tokens": engine.template_tokens, "prompt_tokens": prompt_tokens}
        result |= {"option_tokens": engine.template_option_tokens}
        meter = CallMeter(lambda: None)
        current_meter.set(meter)
        echo = {"model": "tiny", "prompt": ["a", "b"], "max_tokens": 0, "echo": True}
        await call_engine(engine.app, Operation.COMPLETIONS, echo, "echo")
        result |= {"echo_tokens": meter.reading().completion_tokens}
        print("result " + json.dumps(result))

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def process(tiny_model: Path) -> subprocess.CompletedProcess[str]:
    """The process of the engine, which has ended."""
    environment = {
        **os.environ,
        "CYLLM_REDIS_URL": "redis://127.0.0.1:1",
        "CYLLM_WORKER_MODEL": "tiny",
        "CYLLM_WORKER_MODEL_PATH": str(tiny_model),
        "CYLLM_WORKER_MAX_MODEL_LEN": "256",
        "CYLLM_WORKER_MAX_NUM_SEQS": "2",
        "CYLLM_TEST_RUN": str(os.getpid()),
    }
    return subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180
    )


@pytest.fixture(scope="module")
def result(process: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return the observations that the process printed."""
    assert process.returncode == 0, process.stderr[-2000:]
    (line,) = [
        line for line in process.stdout.splitlines() if line.startswith("result ")
    ]  # beside vLLM's log
    return dict(json.loads(line.removeprefix("result ")))


@pytest.mark.case("robustness.17")
def test_the_compile_sandbox_runs_and_has_compiled_when_the_engine_is_ready(
    process: subprocess.CompletedProcess[str], result: dict[str, Any]
) -> None:
    assert "compiling the first constraints" in "\n".join(map(str, result["stages"]))
    assert "refused" not in process.stdout + process.stderr
    assert result["sandboxes"]


@pytest.mark.case("robustness.2")
def test_a_request_of_a_tenant_with_nothing_in_flight_overtakes_those_that_wait(
    result: dict[str, Any],
) -> None:
    ends = result["ends"]
    assert 0 < result["busy_use"] < 1
    assert result["idle_use"] == 0
    assert len(ends) == 7
    assert ends.index("urgent") <= 2, ends


def test_the_tokens_of_the_chat_template_are_those_of_the_shortest_chat(result: dict[str, Any]) -> None:
    assert result["template_tokens"] == result["prompt_tokens"] > 1
    assert result["option_tokens"] > 1


@pytest.mark.criterion("6.1")
def test_an_echo_generates_no_more_than_the_one_token_of_each_choice_that_is_reserved(
    result: dict[str, Any],
) -> None:
    assert 0 < result["echo_tokens"] <= 2
