"""Settings of an inference worker. GPU machines know these and nothing of the database."""

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
from inference_worker.runtime.adapters import AdapterSource, adapter_sources
from inference_worker.transport.address import Address

PREFIX = "CYLLM_WORKER_"
Tree = TypeVar("Tree", bound=BaseSettings)


def _redis_url(url: str) -> str:
    try:
        Address.from_url(url)
    except OSError:
        raise ValueError("a certificate or key file that it names can't be read") from None
    except ValueError:
        # parsers repeat parts of what they can't read, and that may be the password
        raise ValueError("can't be read; characters like / # ? @ in a password are written %2F …") from None
    return url


def _engine_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        good = not url or (parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0)
    except ValueError:
        good = False
    if not good:
        raise ValueError("not an http:// or https:// address")
    return url


def _adapters(given: object) -> object:
    return adapter_sources(given) if isinstance(given, str) else given


def _operations(given: object) -> object:
    if not isinstance(given, str):
        return given
    known = [str(operation) for operation in Operation]
    names = given.split(",")
    if any(name not in known for name in names):
        raise ValueError(f"expected one or more of {', '.join(known)}, separated by commas")
    return tuple(map(Operation, names))


RedisUrl = Annotated[str, AfterValidator(_redis_url)]
EngineUrl = Annotated[str, AfterValidator(_engine_url)]
# Lists as people write them, not as JSON.
Adapters = Annotated[tuple[AdapterSource, ...], NoDecode, BeforeValidator(_adapters)]
Operations = Annotated[tuple[Operation, ...], NoDecode, BeforeValidator(_operations)]


class WorkerSettings(BaseSettings):
    """Every setting of one inference worker. Times in seconds."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", populate_by_name=True, hide_input_in_errors=True
    )

    redis_url: RedisUrl = Field(
        alias="CYLLM_REDIS_URL", description="redis://, rediss:// or unix:// address of Redis or Valkey"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", alias="CYLLM_LOG_LEVEL", description="level of the worker's own loggers"
    )
    log_format: Literal["text", "json"] = Field(
        "text", alias="CYLLM_LOG_FORMAT", description="one line per event, for people or machines"
    )
    id: str = Field(
        "",
        max_length=64,
        pattern=r"^[A-Za-z0-9._-]*$",
        description="name of this worker; host and pid if empty",
    )
    model: str = Field(description="name under which the model is served, as in the registry")
    model_path: Path | None = Field(None, description="model folder; needed for the engine vllm")
    adapters: Adapters = Field(
        (), description="LoRA adapters served beside the model: name=folder, separated by commas; vllm only"
    )
    engine: Literal["vllm", "remote"] = Field(
        "vllm", description="vllm: vLLM in this process; remote: an OpenAI-speaking server"
    )
    engine_url: EngineUrl = Field("", description="address of the remote engine, up to and without /v1")
    engine_key: str = Field("", description="bearer key for the remote engine", repr=False)
    engine_model: str = Field(
        "", description="the model's name at the remote engine; default: the served name"
    )
    engine_operations: Operations = Field(
        DEFAULT_OPERATIONS,
        description="what the remote engine can, separated by commas: chat.completions, completions, "
        "embeddings, tokenize, detokenize (the last two as vLLM has them)",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="auto: chosen from the hardware, with the reason in the log"
    )
    max_model_len: int | None = Field(None, ge=16, description="context length; default: the model's own")
    max_num_seqs: int = Field(64, ge=1, description="requests in one batch")
    kv_cache_gib: float = Field(1.0, gt=0, description="memory for the key-value cache on a CPU, in GiB")
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1, description="share of GPU memory for the engine")
    threads: int = Field(1, ge=1, description="OpenMP threads of the engine on a CPU")
    fast_path: bool = Field(True, description="take plain text streams straight from the engine's output")
    tool_parser: str = Field(
        "", description="vLLM's parser for the model's tool calls, as hermes; without one no tools are taken"
    )
    reasoning_parser: str = Field(
        "", description="vLLM's parser that tells reasoning from content, as deepseek_r1 or qwen3"
    )
    chat_template: FilePath | None = Field(
        None, description="file with a chat template to use instead of the model's own"
    )
    compile_limit_s: int = Field(
        2, ge=1, le=60, description="CPU time to compile one schema or pattern; what takes longer is refused"
    )
    engine_args: str = Field("", description="further vLLM arguments, as on its command line")
    max_requests: int = Field(1024, ge=1, description="requests held at once; more are sent elsewhere")
    drain_timeout_s: float = Field(30.0, gt=0, description="time for running requests after SIGTERM")
    upstream_timeout_s: float = Field(
        120.0, gt=0, description="silence after which a remote engine has failed"
    )

    @classmethod
    def environment_names(cls) -> set[str]:
        """All names that this tree reads from the environment."""
        return {field.alias or PREFIX + name.upper() for name, field in cls.model_fields.items()}


class SettingsError(SystemExit):
    """Wrong settings, all of them, as one readable text that repeats no value."""


def unknown_names(environ: Mapping[str, str], prefix: str, known: set[str]) -> list[str]:
    """A line for each name with this prefix that no setting has, with the name that may have been meant."""
    found = []
    full = {name.removeprefix(prefix): name for name in sorted(known)}  # the prefix would make all alike
    for name in sorted(environ):
        if name.startswith(prefix) and name not in known:
            near = difflib.get_close_matches(name.removeprefix(prefix), full, n=1)
            found.append(f"{name}: no such setting" + (f"; did you mean {full[near[0]]}?" if near else ""))
    return found


def load(tree: type[Tree], prefix: str, known: set[str]) -> Tree:
    """The settings from the environment. Raises SettingsError that lists every fault by name."""
    faults = unknown_names(os.environ, prefix, known)
    try:
        loaded = tree()
    except ValidationError as error:
        for fault in error.errors(include_input=False):
            faults.append(_fault_line(tree, prefix, str(fault["loc"][0]), fault["msg"]))
        loaded = None
    if faults or loaded is None:
        raise SettingsError("CY-LLM can't start with these settings:\n  " + "\n  ".join(faults))
    return loaded


def _fault_line(tree: type[BaseSettings], prefix: str, key: str, message: str) -> str:
    fields = {field.alias or name: field for name, field in tree.model_fields.items()}
    field = fields.get(key)
    name = key if field and field.alias else prefix + key.upper()
    accepted = f" ({field.description})" if field and field.description else ""
    return f"{name}: {message.removeprefix('Value error, ')}{accepted}"


def worker_settings() -> WorkerSettings:
    """The settings of this worker. Raises SettingsError."""
    return load(WorkerSettings, PREFIX, WorkerSettings.environment_names())
