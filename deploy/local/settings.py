"""Settings of the local launcher alone; everything else that is set goes on to the processes it starts."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from inference_worker.runtime.settings import Adapters

ROOT = Path(__file__).resolve().parents[2]


class LocalSettings(BaseSettings):
    """What ``make run`` itself reads."""

    model_config = SettingsConfigDict(
        env_prefix="CYLLM_", frozen=True, extra="ignore", hide_input_in_errors=True
    )

    port: int = Field(8000, ge=1, le=65535, description="port of the local gateway on 127.0.0.1")
    state_dir: Path = Field(ROOT / ".cyllm", description="folder for everything that the stack keeps")
    database_url: str = Field("", description="a Postgres to use instead of the embedded one")
    redis_url: str = Field("", description="a Redis or Valkey to use instead of the embedded one")
    secret_key: str = Field("", description="Django's signing key; default: made once", repr=False)
    worker_id: str = Field("", description="name of the worker; default: local-1")
    worker_engine: str = Field("vllm", description="remote: nothing is loaded here")
    worker_model: str = Field("", description="name of the served model; default: the bundled one")
    worker_model_path: Path | None = Field(None, description="folder of another model than the bundled one")
    worker_adapters: Adapters = Field((), description="LoRA adapters beside the model, registered like it")

    @property
    def base_url(self) -> str:
        """Where the gateway answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def bundled_model(self) -> bool:
        """Whether the bundled model is to be prepared and served."""
        return self.worker_engine == "vllm" and self.worker_model_path is None
