"""The settings of the platform. No other module reads the environment.

Inference workers run without Django and have their own settings, ``inference_worker.runtime.settings``. This
module knows the names of both, to detect misspelt ``CYLLM_`` variables.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from api.admin_api.settings import AdminApiLimits
from api.gateway.settings import Limits
from cyllm_site.settings.database import database_parts
from cyllm_site.sign_in.settings import SignInLimits
from inference_worker.runtime.settings import RedisUrl, WorkerSettings, check_redis_url, load
from inference_worker.telemetry.log_levels import LOG_LEVELS_TEXT, LogLevels
from training.settings import TrainingSettings

PREFIX = "CYLLM_"
# Variables of the local launcher (deploy/local), not settings of the platform.
LAUNCHER_NAMES = frozenset(
    {
        *("CYLLM_PORT", "CYLLM_LOG_MAX_BYTES", "CYLLM_LOG_KEEP"),
        *("CYLLM_ADMIN_URL", "CYLLM_ADMIN_USER", "CYLLM_ADMIN_PASSWORD"),
    }
)


def _database_url(url: str) -> str:
    database_parts(url)
    return url


def _broker_url(url: str) -> str:
    if not url or urlsplit(url).scheme in {"amqp", "amqps"}:
        return url
    return check_redis_url(url)


class Settings(Limits, AdminApiLimits, TrainingSettings, SignInLimits, BaseSettings):
    """All settings of gateway, Celery and commands. Times in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", hide_input_in_errors=True
    )

    mode: Literal["development", "production"] = Field(
        "development", description="production rejects weak secrets, debug mode and wildcard hosts"
    )
    database_url: Annotated[str, AfterValidator(_database_url)] = Field(
        description="address of the platform's database: postgresql://user:password@host:port/name?sslmode=…",
        repr=False,
    )
    redis_url: RedisUrl = Field(
        description="address of Redis or Valkey with the database number: redis://, rediss:// or unix://",
        repr=False,
    )
    broker_url: Annotated[str, AfterValidator(_broker_url)] = Field(
        "",
        description="address of Celery's broker: redis://, rediss:// or unix:// (Redis), amqp:// or amqps:// "
        "(RabbitMQ); default: CYLLM_REDIS_URL",
        repr=False,
    )
    secret_key: SecretStr = Field(
        min_length=32, description="Django's secret signing key, 32 characters or more"
    )
    old_secret_keys: SecretStr = Field(
        SecretStr(""),
        description="earlier values of CYLLM_SECRET_KEY, separated by commas: they still verify sessions, "
        "audit seals and addresses of adapters",
    )
    allowed_hosts: str = Field(
        "localhost,127.0.0.1,[::1]", description="host names of Django's pages, separated by commas"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="level of the platform's loggers; of commands, WARNING unless this is set"
    )
    log_levels: LogLevels = Field({}, description=LOG_LEVELS_TEXT)
    log_format: Literal["text", "json"] = Field(
        "text", description="format of log lines, for people or machines"
    )
    state_dir: Path = Field(Path(".cyllm"), description="folder for static files and local state")
    audit_retention_days: int = Field(90, ge=1, description="days to keep audit records")


@cache
def settings() -> Settings:
    """Return the settings of this process. Raises SettingsError with all faults."""
    own_names = {PREFIX + name.upper() for name in Settings.model_fields}
    return load(Settings, PREFIX, own_names | WorkerSettings.environment_names() | LAUNCHER_NAMES)
