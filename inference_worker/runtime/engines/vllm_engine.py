"""vLLM inside the worker process: its handlers and its ASGI application, called without a socket."""

from __future__ import annotations

import argparse
import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from typing_extensions import override

from inference_worker.protocol.messages import DEFAULT_OPERATIONS, AdapterRef, Operation
from inference_worker.runtime.adapters.errors import AdapterUnavailableError
from inference_worker.runtime.adapters.pool import AdapterPool
from inference_worker.runtime.adapters.static import AdapterError
from inference_worker.runtime.calls.asgi_call import call_engine
from inference_worker.runtime.calls.engine import (
    Engine,
    EngineFailedError,
    Message,
    Receive,
    ReportStage,
    Send,
)
from inference_worker.runtime.calls.meter import CallMeter
from inference_worker.runtime.constraints.grammar_guard import GrammarGuard
from inference_worker.runtime.constraints.request_constraints import check_constraints
from inference_worker.runtime.constraints.tool_grammars import constrain_tool_calls
from inference_worker.runtime.engines.chat_templates import model_templates, template_variables
from inference_worker.runtime.engines.hardware import EngineChoice, Hardware, checkpoint_dtype, choose_engine
from inference_worker.runtime.engines.parsers import check_parsers, fast_paths
from inference_worker.runtime.engines.template_size import template_option_tokens, template_tokens
from inference_worker.runtime.engines.vllm_adapters import (
    VllmAdapters,
    adapter_arguments,
    adapter_store,
    max_lora_rank,
    model_supports_lora,
)
from inference_worker.runtime.engines.vllm_arguments import engine_arguments, prepare_environment
from inference_worker.runtime.engines.vllm_handlers import DirectHandlers
from inference_worker.runtime.engines.vllm_patches.engine_stats import EngineStats
from inference_worker.runtime.engines.vllm_patches.reasoning_stop import stop_in_content_only
from inference_worker.runtime.engines.vllm_patches.short_prompts import render_short_prompts_inline
from inference_worker.runtime.engines.vllm_patches.truncated_tool_calls import report_truncated_tool_calls
from inference_worker.runtime.engines.vllm_patches.wrappers import (
    attach_fast_path,
    meter_pooling,
    observe_generation,
    reject_overflow,
)
from inference_worker.runtime.parent_death import bind_children_to_parent
from inference_worker.runtime.settings import WorkerSettings

logger = logging.getLogger("cyllm.worker.engine")

HEALTH_INTERVAL_S = 0.5
SELF_TESTS: Mapping[Operation, Mapping[str, Any]] = {
    # With log-probs, so that their setup does not delay the first request.
    Operation.COMPLETIONS: {"prompt": "1", "max_tokens": 2, "temperature": 0, "logprobs": 1},
    Operation.EMBEDDINGS: {"input": "1"},
    Operation.TOKENIZE: {"prompt": "1"},
}
# Each passes the sandbox and the engine's compiler, whose start would delay the first client's constraint.
FIRST_CONSTRAINTS: Sequence[Mapping[str, Any]] = (
    {"json": {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}},
    {"regex": "[0-9]"},
    {"choice": ["yes", "no"]},
)
ID_PREFIXES = ("chatcmpl-", "cmpl-", "embd-")


@asynccontextmanager
async def vllm_engine(
    settings: WorkerSettings, hardware: Hardware, report: ReportStage
) -> AsyncIterator[Engine]:
    """Run vLLM with the settings' model. Raises EngineFailedError."""
    model_path = _model_folder(settings)
    choice = choose_engine(settings, hardware, checkpoint_dtype(model_path))
    report(f"settings: {choice.reason}")
    prepare_environment(settings, hardware)
    bind_children_to_parent()
    report("importing vLLM")
    from vllm.entrypoints.launchers.api_server.app_state import init_app_state
    from vllm.entrypoints.launchers.api_server.entry import build_async_engine_client
    from vllm.entrypoints.launchers.app import build_app

    check_parsers(settings)
    args, lora_rank = _parse_arguments(settings, hardware, choice)
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
            engine = VllmEngine(client, app, settings, operations_of(client, tasks), lora_rank)
            engine.patch_responses()
            report("self-test")
            await engine.test()
            report("compiling the first constraints")
            await engine.warm_up_constraints()
        except (RuntimeError, ValueError, OSError) as error:
            raise EngineFailedError(
                f"vLLM can't serve {settings.model} from {model_path}: {error}"
            ) from error
        yield engine


def _parse_arguments(
    settings: WorkerSettings, hardware: Hardware, choice: EngineChoice
) -> tuple[argparse.Namespace, int]:
    """Return vLLM's arguments, and the highest rank of adapters. Raises EngineFailedError."""
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parse = make_arg_parser(FlexibleArgumentParser()).parse_args
    try:
        arguments = engine_arguments(settings, hardware, choice)
        lora_rank = max_lora_rank(settings, lambda: model_supports_lora(parse(arguments)))
        # The operator's own arguments come last, so they take precedence.
        return parse(adapter_arguments(settings, hardware, lora_rank) + arguments), lora_rank
    except AdapterError as error:
        raise EngineFailedError(str(error)) from None


def _install_hooks(client: Any, guard: GrammarGuard) -> None:
    generate = reject_overflow(
        check_constraints(client.generate, guard.check), client.model_config.max_model_len
    )
    client.generate = observe_generation(generate)
    client.encode = meter_pooling(client.encode)
    client.add_request = attach_fast_path(client.add_request)
    EngineStats().install(client)
    render_short_prompts_inline(client.renderer)


def operations_of(client: Any, tasks: Sequence[str]) -> tuple[Operation, ...]:
    """Return the operations that vLLM's application has routes for with this model and these tasks."""
    generation = DEFAULT_OPERATIONS if "generate" in tasks else ()
    embedding = (Operation.EMBEDDINGS,) if client.model_config.get_pooling_task(tasks) == "embed" else ()
    return (*generation, *embedding, Operation.TOKENIZE, Operation.DETOKENIZE)


def _sampling_defaults(model_config: Any) -> dict[str, float]:
    """Return the sampling parameters of the checkpoint's generation config that vLLM applies."""
    parameters: dict[str, Any] = model_config.get_diff_sampling_param()
    return {name: float(value) for name, value in parameters.items() if isinstance(value, int | float)}


def _model_folder(settings: WorkerSettings) -> Path:
    path = settings.model_path
    if path is None:
        raise EngineFailedError("CYLLM_WORKER_MODEL_PATH is not set: the engine vllm needs a model folder")
    if not (path / "config.json").is_file():
        raise EngineFailedError(
            f"{path} is not a model folder: it has no config.json (check CYLLM_WORKER_MODEL_PATH)"
        )
    return path


def _weights_mib(model_path: Path) -> int:
    return sum(file.stat().st_size for file in model_path.glob("*.safetensors")) // 2**20


class VllmEngine(Engine):
    """vLLM in this process."""

    def __init__(
        self,
        client: Any,
        app: Any,
        settings: WorkerSettings,
        operations: tuple[Operation, ...],
        max_lora_rank: int,
    ) -> None:
        self._app = app
        self._handlers = DirectHandlers(app)
        self.operations = operations
        self.max_model_len: int = client.model_config.max_model_len
        self.sampling_defaults = _sampling_defaults(client.model_config)
        tokenizer, templates = client.renderer.tokenizer, self._templates(client, settings)
        self.template_variables = template_variables(templates)
        self.template_option_tokens = template_option_tokens(tokenizer, templates)
        self.template_tokens: int | None = None
        self._client = client
        self._model = settings.model
        self.max_lora_rank = max_lora_rank
        self.max_num_seqs: int = client.vllm_config.scheduler_config.max_num_seqs
        self.dtype = str(client.model_config.dtype).removeprefix("torch.")
        self._store = adapter_store(settings)
        self._removals: set[asyncio.Task[None]] = set()
        adapters = VllmAdapters(client, app.state.openai_serving_models, self._store)
        self._pool = AdapterPool(adapters, settings.max_adapters)
        generates = Operation.CHAT_COMPLETIONS in operations
        self._parser_cls = app.state.openai_serving_chat.parser_cls if generates else None
        self.fast_paths = fast_paths(self._parser_cls) if settings.fast_path and generates else {}

    @staticmethod
    def _templates(client: Any, settings: WorkerSettings) -> tuple[str, ...]:
        # This architecture is rendered without a template.
        if client.model_config.hf_config.model_type == "gpt_oss":
            return ()
        template = settings.chat_template.read_text() if settings.chat_template else None
        return model_templates(client.renderer.tokenizer, template)

    @override
    async def app(self, scope: Message, receive: Receive, send: Send) -> None:
        await self._handlers(scope, receive, send)

    @property
    @override
    def loaded_adapters(self) -> tuple[str, ...]:
        return self._pool.digests

    @asynccontextmanager
    @override
    async def adapter_model(self, ref: AdapterRef, timeout_s: float) -> AsyncIterator[str]:
        if ref.base_model != self._model or ref.rank > self.max_lora_rank:
            raise AdapterUnavailableError(
                f"{ref.name} has base model {ref.base_model} and rank {ref.rank}; this worker serves "
                f"{self._model} with adapters of rank {self.max_lora_rank} at most"
            )
        async with self._pool.use(ref, timeout_s) as name:
            yield name

    @override
    def remove_adapter(self, sha256: str) -> None:
        self._pool.remove(sha256)
        removal = asyncio.create_task(self._store.remove(sha256), name=f"remove-{sha256[:12]}")
        self._removals.add(removal)
        removal.add_done_callback(self._removals.discard)

    def patch_responses(self) -> None:
        """Correct vLLM's application where it deviates from OpenAI's API."""
        if (serving := getattr(self._app.state, "openai_serving_chat", None)) is not None:
            # Without a generation prompt, vLLM's answer has the role of the last message.
            serving.get_chat_request_role = lambda _request: serving.response_role
        if self._parser_cls is None:
            return
        if self._parser_cls.reasoning_parser_cls is not None:
            stop_in_content_only(self._parser_cls.reasoning_parser_cls)
        if self._parser_cls.tool_parser_cls is not None:
            # vLLM's renderer has a parser class of its own, which derives the constraint from the tools.
            constrain_tool_calls(self._app.state.openai_serving_chat.online_renderer.parser)
            report_truncated_tool_calls(self._app.state.openai_serving_chat)

    @property
    @override
    def is_dead(self) -> bool:
        return bool(self._client.errored)

    @property
    @override
    def running_requests(self) -> int:
        return len(self._client.output_processor.request_states)

    @property
    @override
    def kv_cache_use(self) -> float | None:
        if not self.running_requests:
            return 0.0  # the statistics are those of the last step
        stats: EngineStats = self._client.logger_manager
        return stats.kv_cache_use

    @override
    def count_partial(self, request_id: str, meter: CallMeter) -> None:
        engine_ids = tuple(prefix + request_id for prefix in ID_PREFIXES)
        completions: dict[str, int] = {}
        prompts: dict[str, int] = {}
        for state in self._client.output_processor.request_states.values():
            part = state.external_req_id  # shared by the choices of one prompt
            if part.startswith(engine_ids) and state.stats is not None:
                completions[part] = completions.get(part, 0) + state.stats.num_generation_tokens
                prompts[part] = state.prompt_len
        for part, tokens in completions.items():
            meter.observe_generated(part, tokens, prompts[part])

    @override
    async def wait_for_failure(self) -> str:
        while not self._client.errored:
            await asyncio.sleep(HEALTH_INTERVAL_S)
        return "the engine process has ended"

    async def test(self) -> None:
        """Send a request through the application. Raises EngineFailedError unless it succeeds."""
        operation = next(operation for operation in SELF_TESTS if operation in self.operations)
        body = {"model": self._model, **SELF_TESTS[operation]}
        status, response = await call_engine(self._app, operation, body, "self-test")
        if status != 200:
            raise EngineFailedError(f"the self-test failed with status {status}: {response.decode()[:500]}")
        if Operation.CHAT_COMPLETIONS in self.operations:
            self.template_tokens = await template_tokens(self._app, self._model)

    async def warm_up_constraints(self) -> None:
        """Compile constraints of each kind through the application. A failure is only logged."""
        if Operation.COMPLETIONS not in self.operations:
            return
        for constraint in FIRST_CONSTRAINTS:
            body = {
                **SELF_TESTS[Operation.COMPLETIONS],
                "model": self._model,
                "structured_outputs": constraint,
            }
            status, response = await call_engine(self._app, Operation.COMPLETIONS, body, "warm-up")
            if status != 200:
                logger.warning("the engine refused %s: %s", constraint, response.decode()[:500])
