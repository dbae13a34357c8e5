"""vLLM inside the worker process: its ASGI application, called without a socket."""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from typing_extensions import override

from inference_worker.protocol.messages import DEFAULT_OPERATIONS, Operation
from inference_worker.runtime.adapters import AdapterError, adapter_arguments
from inference_worker.runtime.calls.asgi_call import call_engine
from inference_worker.runtime.calls.engine import (
    Engine,
    EngineStartError,
    Message,
    Receive,
    ReportStage,
    Send,
)
from inference_worker.runtime.calls.meter import CallMeter
from inference_worker.runtime.calls.reasoning_stop import stop_in_content_only
from inference_worker.runtime.calls.truncated_tool_calls import report_truncated_tool_calls
from inference_worker.runtime.constraints.grammar_guard import BACKEND, GrammarGuard
from inference_worker.runtime.constraints.request_constraints import check_constraints
from inference_worker.runtime.engines.hardware import EngineChoice, Hardware, checkpoint_dtype, choose_engine
from inference_worker.runtime.engines.parsers import check_parsers, fast_paths, parser_arguments
from inference_worker.runtime.engines.vllm_hooks import (
    attach_fast_path,
    meter_generation,
    meter_pooling,
    reject_overflow,
)
from inference_worker.runtime.parent_death import bind_children_to_parent
from inference_worker.runtime.settings import WorkerSettings

HEALTH_INTERVAL_S = 0.5
SELF_TESTS: Mapping[Operation, Mapping[str, Any]] = {
    # With log-probs, so that their setup does not delay the first request.
    Operation.COMPLETIONS: {"prompt": "1", "max_tokens": 2, "temperature": 0, "logprobs": 1},
    Operation.EMBEDDINGS: {"input": "1"},
    Operation.TOKENIZE: {"prompt": "1"},
}
ID_PREFIXES = ("chatcmpl-", "cmpl-", "embd-")


@asynccontextmanager
async def vllm_engine(
    settings: WorkerSettings, hardware: Hardware, report: ReportStage
) -> AsyncIterator[Engine]:
    """Run vLLM with the settings' model. Raises EngineStartError."""
    model_path = _model_folder(settings)
    choice = choose_engine(settings, hardware, checkpoint_dtype(model_path))
    report(f"settings: {choice.reason}")
    prepare_environment(settings, hardware)
    bind_children_to_parent()
    report("importing vLLM")
    from vllm.entrypoints.launchers.api_server.app_state import init_app_state
    from vllm.entrypoints.launchers.api_server.entry import build_async_engine_client
    from vllm.entrypoints.launchers.app import build_app
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    check_parsers(settings)
    arguments = _arguments_with_adapters(settings, hardware, choice)
    args = make_arg_parser(FlexibleArgumentParser()).parse_args(arguments)
    report(f"loading weights ({_weights_mib(model_path)} MiB) and reserving the key-value cache")
    async with AsyncExitStack() as stack:
        try:
            client = await stack.enter_async_context(build_async_engine_client(args))
            tasks = await client.get_supported_tasks()
            app = build_app(args, tasks, client.model_config)
            guard = GrammarGuard.of_engine(client, settings.compile_limit_s)
            stack.push_async_callback(guard.close)
            _install_hooks(client, guard)
            await init_app_state(client, app.state, args, tasks)
            engine = VllmEngine(client, app, settings, operations_of(client, tasks))
            engine.patch_parsers()
            report("self-test")
            await engine.test()
        except (RuntimeError, ValueError, OSError) as error:
            raise EngineStartError(f"vLLM can't serve {settings.model} from {model_path}: {error}") from error
        yield engine


def _install_hooks(client: Any, guard: GrammarGuard) -> None:
    generate = reject_overflow(
        check_constraints(client.generate, guard.check), client.model_config.max_model_len
    )
    client.generate = meter_generation(generate)
    client.encode = meter_pooling(client.encode)
    client.add_request = attach_fast_path(client.add_request)


def operations_of(client: Any, tasks: Sequence[str]) -> tuple[Operation, ...]:
    """Return the operations that vLLM's application has routes for with this model and these tasks."""
    generation = DEFAULT_OPERATIONS if "generate" in tasks else ()
    embedding = (Operation.EMBEDDINGS,) if client.model_config.get_pooling_task(tasks) == "embed" else ()
    return (*generation, *embedding, Operation.TOKENIZE, Operation.DETOKENIZE)


def _model_folder(settings: WorkerSettings) -> Path:
    path = settings.model_path
    if path is None:
        raise EngineStartError("CYLLM_WORKER_MODEL_PATH is not set: the engine vllm needs a model folder")
    if not (path / "config.json").is_file():
        raise EngineStartError(
            f"{path} is not a model folder: it has no config.json (check CYLLM_WORKER_MODEL_PATH)"
        )
    return path


def _arguments_with_adapters(settings: WorkerSettings, hardware: Hardware, choice: EngineChoice) -> list[str]:
    try:
        return engine_arguments(settings, hardware, choice)
    except AdapterError as error:
        raise EngineStartError(str(error)) from None


def _weights_mib(model_path: Path) -> int:
    return sum(file.stat().st_size for file in model_path.glob("*.safetensors")) // 2**20


def prepare_environment(settings: WorkerSettings, hardware: Hardware) -> None:
    """Set environment variables for vLLM options without an argument, unless the operator has set them."""
    variables = {
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_LOGGING_LEVEL": "INFO" if settings.log_level == "DEBUG" else "WARNING",
    }
    if hardware.kind == "cpu":
        variables |= {
            # One process for core and executor halves the CPU time per token on a machine with few cores.
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "OMP_NUM_THREADS": str(settings.threads),
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        }
    for name, value in variables.items():
        os.environ.setdefault(name, value)


def engine_arguments(settings: WorkerSettings, hardware: Hardware, choice: EngineChoice) -> list[str]:
    """Return vLLM's arguments for these settings, the operator's own last. Raises AdapterError."""
    arguments = [
        *("--model", str(settings.model_path), "--served-model-name", settings.model),
        *("--dtype", choice.dtype, "--max-num-seqs", str(settings.max_num_seqs)),
        *("--scheduling-policy", "priority"),
        "--enable-prompt-tokens-details",
        # By default, vLLM keeps the backend that it chose for the first constraint.
        *("--structured-outputs-config.backend", BACKEND),
        "--disable-fastapi-docs",
    ]
    if settings.max_model_len:
        arguments += ["--max-model-len", str(settings.max_model_len)]
    if choice.eager:
        arguments.append("--enforce-eager")
    if hardware.kind == "cpu":
        arguments += ["--distributed-executor-backend", "uni"]
        # A prompt with a seed that is processed in two steps crashes vLLM 0.32: on CPUs, torch's generators
        # have no offset, which vLLM needs to discard the token after the first step.
        arguments.append("--no-enable-chunked-prefill")
        arguments += ["--kv-cache-memory-bytes", str(int(settings.kv_cache_gib * 2**30))]
    else:
        arguments += ["--gpu-memory-utilization", str(settings.gpu_memory_utilization)]
    arguments += adapter_arguments(settings.adapters)
    return arguments + parser_arguments(settings) + shlex.split(settings.engine_args)


class VllmEngine(Engine):
    """vLLM in this process."""

    def __init__(
        self, client: Any, app: Any, settings: WorkerSettings, operations: tuple[Operation, ...]
    ) -> None:
        self._app = app
        self.operations = operations
        self.max_model_len: int = client.model_config.max_model_len
        self._client = client
        self._model = settings.model
        generates = Operation.CHAT_COMPLETIONS in operations
        self._parser_cls = app.state.openai_serving_chat.parser_cls if generates else None
        self.fast_paths = fast_paths(self._parser_cls) if settings.fast_path and generates else {}

    @override
    async def app(self, scope: Message, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    def patch_parsers(self) -> None:
        """Correct vLLM's application where its parsers deviate from OpenAI's API."""
        if self._parser_cls is None:
            return
        if self._parser_cls.reasoning_parser_cls is not None:
            stop_in_content_only(self._parser_cls.reasoning_parser_cls)
        if self._parser_cls.tool_parser_cls is not None:
            report_truncated_tool_calls(self._app.state.openai_serving_chat)

    @property
    @override
    def is_dead(self) -> bool:
        return bool(self._client.errored)

    @property
    @override
    def running_requests(self) -> int:
        return len(self._client.output_processor.request_states)

    @override
    def count_partial(self, request_id: str, meter: CallMeter) -> None:
        engine_ids = tuple(prefix + request_id for prefix in ID_PREFIXES)
        generated: dict[str, int] = {}
        prompts: dict[str, int] = {}
        for state in self._client.output_processor.request_states.values():
            part = state.external_req_id  # shared by the choices of one prompt
            if part.startswith(engine_ids) and state.stats is not None:
                generated[part] = generated.get(part, 0) + state.stats.num_generation_tokens
                prompts[part] = state.prompt_len
        for part, tokens in generated.items():
            meter.observe_generated(part, tokens, prompts[part])

    @override
    async def wait_for_failure(self) -> str:
        while not self._client.errored:
            await asyncio.sleep(HEALTH_INTERVAL_S)
        return "the engine process has ended"

    async def test(self) -> None:
        """Send a request through the application. Raises EngineStartError unless it succeeds."""
        operation = next(operation for operation in SELF_TESTS if operation in self.operations)
        body = {"model": self._model, **SELF_TESTS[operation]}
        status, response = await call_engine(self._app, operation, body, "self-test")
        if status != 200:
            raise EngineStartError(f"the self-test failed with status {status}: {response.decode()[:500]}")
