"""Settings of an inference worker, which needs no access to the database."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, FilePath, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from inference_worker.protocol.messages import DEFAULT_OPERATIONS, Operation
from inference_worker.runtime.adapters.static import AdapterSource, adapter_sources
from inference_worker.telemetry.log_levels import LOG_LEVELS_TEXT, LogLevels
from inference_worker.transport.address import Address

PREFIX = "CYLLM_WORKER_"
Tree = TypeVar("Tree", bound=BaseSettings)


def check_redis_url(url: str) -> str:
    """Return the address. Raises ValueError with a text that doesn't quote it."""
    try:
        Address.from_url(url)
    except OSError:
        raise ValueError("can't read a certificate or key file that it names") from None
    except ValueError:
        # The parser's error may quote the password.
        raise ValueError("not a valid address; encode / # ? @ in a password as %2F …") from None
    return url


def _engine_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_valid = not url or (parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0)
    except ValueError:
        is_valid = False
    if not is_valid:
        raise ValueError("not an http:// or https:// address")
    return url


def _adapters(value: object) -> object:
    return adapter_sources(value) if isinstance(value, str) else value


def _operations(value: object) -> object:
    if not isinstance(value, str):
        return value
    operations = [str(operation) for operation in Operation]
    names = value.split(",")
    if any(name not in operations for name in names):
        raise ValueError(f"expected one or more of {', '.join(operations)}, separated by commas")
    return tuple(map(Operation, names))


RedisUrl = Annotated[str, AfterValidator(check_redis_url)]
EngineUrl = Annotated[str, AfterValidator(_engine_url)]
# Comma-separated lists, not JSON.
Adapters = Annotated[tuple[AdapterSource, ...], NoDecode, BeforeValidator(_adapters)]
Operations = Annotated[tuple[Operation, ...], NoDecode, BeforeValidator(_operations)]


class WorkerSettings(BaseSettings):
    """Settings of one inference worker. Times in seconds."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", populate_by_name=True, hide_input_in_errors=True
    )

    redis_url: RedisUrl = Field(
        alias="CYLLM_REDIS_URL", description="redis://, rediss:// or unix:// address of Redis or Valkey"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", alias="CYLLM_LOG_LEVEL", description="level of the worker's own loggers"
    )
    log_levels: LogLevels = Field({}, alias="CYLLM_LOG_LEVELS", description=LOG_LEVELS_TEXT)
    log_format: Literal["text", "json"] = Field(
        "text", alias="CYLLM_LOG_FORMAT", description="one line per event, as text or JSON"
    )
    id: str = Field(
        "",
        max_length=64,
        pattern=r"^[A-Za-z0-9._-]*$",
        description="name of this worker; default: host and process id",
    )
    model: str = Field(description="the model's name in the registry")
    model_path: Path | None = Field(None, description="model folder; required for the engine vllm")
    adapters: Adapters = Field(
        (),
        description="LoRA adapters to serve with the model: name=folder, separated by commas; vllm only",
    )
    max_lora_rank: int | None = Field(
        None,
        ge=0,
        le=512,
        description="highest rank of fine-tuned adapters that the worker loads on demand, 0 for none; "
        "default: 32 if vLLM can apply adapters to the model; vllm only",
    )
    max_adapters: int = Field(
        16, ge=1, le=1024, description="adapters to keep loaded; the least recently used gives way to others"
    )
    artifact_dir: Path | None = Field(
        None,
        description="folder with the platform's adapters, if the worker can read it: artifacts in the "
        "platform's file storage; otherwise the worker downloads them",
    )
    adapter_cache_dir: Path | None = Field(
        None,
        description="folder for adapters that the worker has fetched, which workers of one host may share; "
        "default: cyllm/adapters in the user's cache folder",
    )
    adapter_cache_gib: float = Field(
        10.0, gt=0, description="size of that folder in GiB; the least recently fetched adapters are removed"
    )
    adapter_max_bytes: int = Field(2 * 2**30, ge=2**20, description="largest adapter to fetch, in bytes")
    adapter_timeout_s: float = Field(300.0, gt=0, description="time to download an adapter")
    engine: Literal["vllm", "remote"] = Field(
        "vllm", description="vllm: vLLM in this process; remote: a server with OpenAI's API"
    )
    engine_url: EngineUrl = Field("", description="address of the remote engine without /v1")
    engine_key: str = Field("", description="API key for the remote engine", repr=False)
    engine_model: str = Field(
        "", description="the model's name at the remote engine; default: its name in the registry"
    )
    engine_operations: Operations = Field(
        DEFAULT_OPERATIONS,
        description="operations of the remote engine, separated by commas: chat.completions, completions, "
        "embeddings, tokenize, detokenize (the last two in vLLM's format)",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="data type of the computation; auto: chosen for the hardware, with the reason in the log",
    )
    max_model_len: int | None = Field(
        None, ge=16, description="context length in tokens; default: the model's own"
    )
    max_num_seqs: int = Field(64, ge=1, description="largest number of requests in one batch")
    kv_cache_gib: float = Field(1.0, gt=0, description="size of the key-value cache on a CPU in GiB")
    gpu_memory_utilization: float = Field(
        0.9, gt=0, le=1, description="fraction of GPU memory for the engine"
    )
    threads: int = Field(1, ge=1, description="OpenMP threads of the engine on a CPU")
    fast_path: bool = Field(
        True, description="stream plain text directly from the engine's output, which costs less CPU time"
    )
    tool_parser: str = Field(
        "", description="vLLM's parser for the model's tool calls, such as hermes; required for tools"
    )
    reasoning_parser: str = Field(
        "", description="vLLM's parser that separates reasoning from content, such as deepseek_r1 or qwen3"
    )
    chat_template: FilePath | None = Field(
        None, description="file with a chat template that replaces the model's own"
    )
    compile_limit_s: int = Field(
        5, ge=1, le=60, description="limit on the CPU time to compile one schema or pattern"
    )
    engine_args: str = Field("", description="additional vLLM arguments, as on its command line")
    max_requests: int = Field(
        1024, ge=1, description="largest number of requests at once; more go to other workers"
    )
    drain_timeout_s: float = Field(
        30.0, gt=0, description="time for running requests to finish after SIGTERM"
    )
    upstream_timeout_s: float = Field(120.0, gt=0, description="limit on the silence of a remote engine")

    @classmethod
    def environment_names(cls) -> set[str]:
        """Return the environment variables of all settings."""
        return {field.alias or PREFIX + name.upper() for name, field in cls.model_fields.items()}


class SettingsError(SystemExit):
    """The settings are wrong. The text lists every fault and quotes no value."""


def unknown_names(environ: Mapping[str, str], prefix: str, names: set[str]) -> list[str]:
    """Return a line for each variable with this prefix that is not a setting, with the nearest name."""
    lines = []
    full_names = {name.removeprefix(prefix): name for name in sorted(names)}  # a prefix would match anything
    for name in sorted(environ):
        if name.startswith(prefix) and name not in names:
            near = difflib.get_close_matches(name.removeprefix(prefix), full_names, n=1)
            hint = f"; did you mean {full_names[near[0]]}?" if near else ""
            lines.append(f"{name}: no such setting{hint}")
    return lines


def load(tree: type[Tree], prefix: str, names: set[str]) -> Tree:
    """Return the settings from the environment. Raises SettingsError, which lists every fault by name."""
    faults = unknown_names(os.environ, prefix, names)
    settings: Tree | None = None
    try:
        settings = tree()
    except ValidationError as error:
        for fault in error.errors(include_input=False):
            faults.append(_fault_line(tree, prefix, str(fault["loc"][0]), fault["msg"]))
    if faults or settings is None:
        raise SettingsError("CY-LLM can't start with these settings:\n  " + "\n  ".join(faults))
    return settings


def _fault_line(tree: type[BaseSettings], prefix: str, key: str, message: str) -> str:
    fields = {field.alias or name: field for name, field in tree.model_fields.items()}
    field = fields.get(key)
    name = key if field and field.alias else prefix + key.upper()
    description = f" ({field.description})" if field and field.description else ""
    return f"{name}: {message.removeprefix('Value error, ')}{description}"


def worker_settings() -> WorkerSettings:
    """Return the settings of this worker. Raises SettingsError."""
    return load(WorkerSettings, PREFIX, WorkerSettings.environment_names())
