"""The one validated settings tree. Nothing else in the platform reads the environment.

Inference workers run on machines without Django and have a tree of their own,
``inference_worker.runtime.settings``; the names of both are known here, so that a typing error in any
``CYLLM_`` name is caught.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from api.gateway.stages.limits import Limits
from cyllm_site.database import database_parts
from inference_worker.runtime.settings import RedisUrl, WorkerSettings, load

PREFIX = "CYLLM_"
# Read or written by the local launcher (deploy/local): not settings of the platform, and no typing errors.
LAUNCHER_NAMES = frozenset({"CYLLM_PORT", "CYLLM_ADMIN_URL", "CYLLM_ADMIN_USER", "CYLLM_ADMIN_PASSWORD"})


def _database_url(url: str) -> str:
    database_parts(url)
    return url


class Settings(Limits, BaseSettings):
    """Every setting of gateway, Celery and commands. Times in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", hide_input_in_errors=True
    )

    mode: Literal["development", "production"] = Field(
        "development", description="production refuses weak secrets, debug and open hosts"
    )
    database_url: Annotated[str, AfterValidator(_database_url)] = Field(
        description="postgresql://user:password@host:port/name?sslmode=… of the platform's database"
    )
    redis_url: RedisUrl = Field(
        description="redis://, rediss:// or unix:// address of Redis or Valkey, database number included"
    )
    secret_key: SecretStr = Field(
        min_length=32, description="Django's signing key, 32 characters or more; keep it secret"
    )
    allowed_hosts: str = Field(
        "localhost,127.0.0.1,[::1]", description="host names that are answered, separated by commas"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="level of the platform's own loggers"
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="one line per event, for people or machines"
    )
    state_dir: Path = Field(Path(".cyllm"), description="folder for static files, logs and other local state")
    audit_retention_days: int = Field(90, ge=1, description="age at which audit rows are purged")


@cache
def settings() -> Settings:
    """The settings of this process. Raises SettingsError that lists every fault by name."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    return load(Settings, PREFIX, known | WorkerSettings.environment_names() | LAUNCHER_NAMES)
