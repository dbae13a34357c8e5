"""Adapters in vLLM: its arguments for them, and loading on demand through its own registry of models."""

from __future__ import annotations

import logging
import os
import time
from argparse import Namespace
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

from typing_extensions import override

from inference_worker.protocol.messages import AdapterRef
from inference_worker.runtime.adapters.errors import AdapterRejectedError, AdapterUnavailableError
from inference_worker.runtime.adapters.pool import AdapterEngine
from inference_worker.runtime.adapters.static import MAX_PER_BATCH, highest_rank, rank_option
from inference_worker.runtime.adapters.store import AdapterStore, StoreLimits
from inference_worker.runtime.calls.engine_call import current_call
from inference_worker.runtime.engines.hardware import Hardware
from inference_worker.runtime.settings import WorkerSettings

logger = logging.getLogger("cyllm.worker.adapters")

DEFAULT_MAX_RANK = 32
CPU_EXTENSION = "inference_worker.runtime.engines.vllm_patches.cpu_lora.CpuLoraExtension"


def max_lora_rank(settings: WorkerSettings, supports_lora: Callable[[], bool]) -> int:
    """Return the highest rank of adapters to load on demand, 0 for none.

    ``supports_lora`` decides if the settings leave the choice to the worker. Raises AdapterError.
    """
    if settings.max_lora_rank is not None:
        return rank_option(settings.max_lora_rank) if settings.max_lora_rank else 0
    if not supports_lora():
        logger.info("adapters are off: vLLM can't apply them to this model")
        return 0
    return rank_option(DEFAULT_MAX_RANK)


def adapter_arguments(settings: WorkerSettings, hardware: Hardware, dynamic_rank: int) -> list[str]:
    """Return vLLM's arguments for static adapters and those loaded on demand. Raises AdapterError."""
    sources = settings.adapters
    capacity = len(sources) + (settings.max_adapters if dynamic_rank else 0)
    if not capacity:
        return []
    arguments = [
        "--enable-lora",
        *("--max-lora-rank", str(max(dynamic_rank, rank_option(highest_rank(sources))))),
        *("--max-loras", str(min(capacity, MAX_PER_BATCH))),
        *("--max-cpu-loras", str(capacity)),
    ]
    if hardware.kind == "cpu":
        arguments += ["--worker-extension-cls", CPU_EXTENSION]
    if sources:
        arguments += ["--lora-modules", *(f"{source.name}={source.folder}" for source in sources)]
    return arguments


def model_supports_lora(args: Namespace) -> bool:
    """Return whether vLLM can apply adapters to the model: it generates, and its class supports LoRA."""
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.model_executor.models import supports_lora

    try:
        config = AsyncEngineArgs.from_cli_args(args).create_model_config()
        if config.runner_type != "generate":
            return False
        model_class, _ = config.registry.resolve_model_cls(config.architectures, config)
    except (RuntimeError, ValueError, OSError):
        return False  # the start of the engine reports the fault of the model
    return bool(supports_lora(model_class))


def adapter_store(settings: WorkerSettings) -> AdapterStore:
    """Return the worker's cache of adapters."""
    limits = StoreLimits(
        archive_bytes=settings.adapter_max_bytes,
        cache_bytes=int(settings.adapter_cache_gib * 2**30),
        download_s=settings.adapter_timeout_s,
    )
    return AdapterStore(settings.adapter_cache_dir or _default_cache(), settings.artifact_dir, limits)


def _default_cache() -> Path:
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "cyllm" / "adapters"


class VllmAdapters(AdapterEngine):
    """Adds adapters from the worker's cache to vLLM, and removes them. Engine ids are never reused."""

    def __init__(self, client: Any, models: Any, store: AdapterStore) -> None:
        self._client, self._models, self._store = client, models, store
        models.model_name = _public_names(models.model_name)

    @override
    async def load(self, ref: AdapterRef, name: str) -> None:
        start = time.monotonic()
        error = await self._add(ref, name)
        if error is not None and error.code == HTTPStatus.NOT_FOUND:
            # Another worker that shares the cache trimmed it in the meantime.
            error = await self._add(ref, name)
        if error is not None:
            is_gone = error.code == HTTPStatus.NOT_FOUND  # trimmed again: another worker may succeed
            kind = AdapterUnavailableError if is_gone else AdapterRejectedError
            raise kind(f"{ref.name}: the engine refused it: {error.message}")
        logger.info("loaded %s in %.2f s", ref.name, time.monotonic() - start)

    async def _add(self, ref: AdapterRef, name: str) -> Any:
        """Add the adapter and return vLLM's error, None if there was none. Raises AdapterUnavailableError."""
        from vllm.entrypoints.serve.engine.protocol import ErrorResponse
        from vllm.entrypoints.serve.lora.protocol import LoadLoRAAdapterRequest

        folder = await self._store.fetch(ref)
        request = LoadLoRAAdapterRequest(lora_name=name, lora_path=str(folder))
        result = await self._models.load_lora_adapter(request)
        return result.error if isinstance(result, ErrorResponse) else None

    @override
    async def unload(self, name: str) -> None:
        from vllm.entrypoints.serve.lora.protocol import UnloadLoRAAdapterRequest

        lora_id = self._models.lora_requests[name].lora_int_id
        await self._models.unload_lora_adapter(UnloadLoRAAdapterRequest(lora_name=name))
        self._models.lora_resolver_lock.pop(name, None)
        await self._client.remove_lora(lora_id)


def _public_names(model_name: Callable[..., str]) -> Callable[..., str]:
    """Wrap the function that names the model in responses: clients see the name they asked for."""

    def public_name(lora_request: Any = None) -> str:
        call = current_call.get()
        if lora_request is not None and call is not None and call.submit.adapter is not None:
            return call.submit.model
        return model_name(lora_request)

    return public_name
