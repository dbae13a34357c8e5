"""Settings of the local launcher. It passes all other settings on to the processes it starts."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from inference_worker.runtime.settings import Adapters

ROOT = Path(__file__).resolve().parents[2]


class LocalSettings(BaseSettings):
    """Settings that ``make run`` reads itself."""

    model_config = SettingsConfigDict(
        env_prefix="CYLLM_", frozen=True, extra="ignore", hide_input_in_errors=True
    )

    port: int = Field(8000, ge=1, le=65535, description="port of the local gateway on 127.0.0.1")
    state_dir: Path = Field(ROOT / ".cyllm", description="folder for the state of the stack")
    log_max_bytes: int = Field(20 * 2**20, ge=10_000, description="size at which a log is rotated")
    log_keep: int = Field(3, ge=1, le=100, description="rotated logs to keep of each process")
    database_url: str = Field("", description="Postgres to use instead of the embedded one", repr=False)
    redis_url: str = Field("", description="Redis or Valkey to use instead of the embedded one", repr=False)
    secret_key: str = Field("", description="Django's signing key; default: generated once", repr=False)
    worker_id: str = Field("", description="name of the worker; default: local-1")
    worker_engine: str = Field("vllm", description="vllm, or remote to load no model locally")
    worker_model: str = Field("", description="name of the served model; default: the bundled model")
    worker_model_path: Path | None = Field(None, description="folder of a model to serve; default: bundled")
    worker_adapters: Adapters = Field((), description="LoRA adapters to register and serve with the model")
    training_models: str = Field("", description="models that can be fine-tuned; default: the served one")

    @property
    def base_url(self) -> str:
        """Address of the gateway."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def bundled_model(self) -> bool:
        """True if the stack serves the bundled model."""
        return self.worker_engine == "vllm" and self.worker_model_path is None
