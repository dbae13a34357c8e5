"""The peers, each in a process: vLLM's HTTP server, and the bare engine without HTTP.

``python -m benchmarks.relay.peers server PORT`` or ``… bare``, with the CYLLM_WORKER_ settings of the
worker that they are compared with, which give the same engine arguments.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import uvloop

from inference_worker.runtime.engines.hardware import checkpoint_dtype, choose_engine, detect_hardware
from inference_worker.runtime.engines.vllm_arguments import engine_arguments, prepare_environment
from inference_worker.runtime.parent_death import bind_children_to_parent
from inference_worker.runtime.settings import WorkerSettings


def _engine_arguments() -> tuple[WorkerSettings, list[str]]:
    settings = WorkerSettings()
    assert settings.model_path is not None  # noqa: S101 - the benchmark sets it
    hardware = detect_hardware()
    choice = choose_engine(settings, hardware, checkpoint_dtype(settings.model_path))
    prepare_environment(settings, hardware)
    bind_children_to_parent()
    return settings, engine_arguments(settings, hardware, choice)


def _parse(arguments: list[str]) -> Any:
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    return make_arg_parser(FlexibleArgumentParser()).parse_args(arguments)


def serve(port: int) -> None:
    """Run vLLM's HTTP server as its command line does, without the access log."""
    _, arguments = _engine_arguments()
    from vllm.entrypoints.launchers.api_server.entry import run_server

    arguments += ["--host", "127.0.0.1", "--port", str(port), "--disable-uvicorn-access-log"]
    uvloop.run(run_server(_parse(arguments)))


async def _bare() -> None:
    settings, arguments = _engine_arguments()
    from vllm.entrypoints.launchers.api_server.entry import build_async_engine_client

    async with build_async_engine_client(_parse(arguments)) as engine:
        print(json.dumps({"ready": settings.model}), flush=True)
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            request = json.loads(line)
            print(json.dumps(await _run_bare(engine, **request)), flush=True)


async def _run_bare(engine: Any, streams: int, tokens: int, salt: int) -> dict[str, float]:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    params = SamplingParams(
        max_tokens=tokens, temperature=0, ignore_eos=True, output_kind=RequestOutputKind.DELTA
    )
    start = time.perf_counter()

    async def first_token_s(n: int) -> float:
        delay_s = 0.0
        prompt = (
            f"<|im_start|>user\n{salt * 1000 + n} Tell me about the sea. <|im_end|>\n<|im_start|>assistant\n"
        )
        async for _ in engine.generate(prompt, params, request_id=f"bare-{salt}-{n}"):
            delay_s = delay_s or time.perf_counter() - start
        return delay_s

    delays_s = sorted(await asyncio.gather(*(first_token_s(n) for n in range(streams))))
    duration_s = time.perf_counter() - start
    return {"tokens_per_s": streams * tokens / duration_s, "first_token_s": delays_s[len(delays_s) // 2]}


if __name__ == "__main__":
    if sys.argv[1] == "server":
        serve(int(sys.argv[2]))
    else:
        uvloop.run(_bare())
