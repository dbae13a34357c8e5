"""Settings of an inference worker. GPU machines know these and nothing of the database."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "CYLLM_WORKER_"


class WorkerSettings(BaseSettings):
    """Every setting of one inference worker. Times in seconds."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", populate_by_name=True)

    redis_url: str = Field(
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
    engine: Literal["vllm", "remote"] = Field(
        "vllm", description="vllm: vLLM in this process; remote: an OpenAI-speaking server"
    )
    engine_url: str = Field("", description="address of the remote engine, up to and without /v1")
    engine_key: str = Field("", description="bearer key for the remote engine", repr=False)
    engine_model: str = Field(
        "", description="the model's name at the remote engine; default: the served name"
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="auto: chosen from the hardware, with the reason in the log"
    )
    max_model_len: int | None = Field(None, ge=16, description="context length; default: the model's own")
    max_num_seqs: int = Field(64, ge=1, description="requests in one batch")
    kv_cache_gib: float = Field(1.0, gt=0, description="memory for the key-value cache on a CPU, in GiB")
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1, description="share of GPU memory for the engine")
    threads: int = Field(1, ge=1, description="OpenMP threads of the engine on a CPU")
    text_sink: bool = Field(True, description="take plain text streams straight from the engine's output")
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
