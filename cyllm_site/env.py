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

from cyllm_site.database import database_parts
from inference_worker.runtime.settings import RedisUrl, WorkerSettings, load

PREFIX = "CYLLM_"
# Read or written by the local launcher (deploy/local): not settings of the platform, and no typing errors.
LAUNCHER_NAMES = frozenset({"CYLLM_PORT", "CYLLM_ADMIN_URL", "CYLLM_ADMIN_USER", "CYLLM_ADMIN_PASSWORD"})


def _database_url(url: str) -> str:
    database_parts(url)
    return url


class Settings(BaseSettings):
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
    trusted_proxies: int = Field(
        0, ge=0, le=8, description="number of reverse proxies in front that append X-Forwarded-For"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="level of the platform's own loggers"
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="one line per event, for people or machines"
    )
    state_dir: Path = Field(Path(".cyllm"), description="folder for static files, logs and other local state")

    gateway_max_requests: int = Field(
        512, ge=1, description="requests a gateway process carries at once; more get 503 and Retry-After"
    )
    gateway_tenant_share: float = Field(
        0.875,
        gt=0,
        lt=1,
        description="share of the requests carried at once that one tenant may have alone; several tenants "
        "share evenly, and there is always room for another",
    )
    max_body_bytes: int = Field(8 * 1024 * 1024, ge=1024, description="largest request body")
    gateway_body_bytes: int = Field(
        512 * 1024 * 1024,
        ge=2048,
        description="bytes of bodies that a gateway process holds for the requests that it carries; tenants "
        "share them as they share its places; less than two of the largest bodies counts as two",
    )
    client_body_timeout_s: float = Field(30.0, gt=0, description="time a client has to send its body")
    queue_timeout_s: float = Field(60.0, gt=0, description="limit from arrival until an engine has accepted")
    first_token_timeout_s: float = Field(120.0, gt=0, description="limit from acceptance to the first token")
    inter_token_timeout_s: float = Field(60.0, gt=0, description="limit between two tokens of a stream")
    total_timeout_s: float = Field(900.0, gt=0, description="limit for a whole request")
    stream_comment_s: float = Field(
        10.0, gt=0, description="a comment line is sent after this long without data, to keep proxies open"
    )
    submit_attempts: int = Field(
        3,
        ge=1,
        le=5,
        description="workers a request is offered to, as long as nothing was sent to the client",
    )

    stream_log_bytes: int = Field(
        4 * 1024 * 1024,
        ge=4096,
        description="what Redis keeps of one resumable stream; older events are dropped",
    )
    stream_log_keep_s: float = Field(
        600.0, gt=0, description="how long a resumable stream can be read after its end"
    )
    stream_logs_per_tenant: int = Field(
        256, ge=1, description="resumable streams kept for a tenant; the oldest ended ones make room"
    )
    detached_max: int = Field(
        256, ge=1, description="requests of a gateway process that may run on without their client"
    )
    detached_per_tenant: int = Field(64, ge=1, description="those of them that may be one tenant's")
    detached_grace_s: float = Field(
        20.0, ge=0, description="time that such requests have to end when the gateway is stopped"
    )

    database_timeout_s: float = Field(3.0, gt=0, description="limit for connecting and for one statement")
    key_cache_s: float = Field(
        0.8, gt=0, le=1.0, description="age at which a cached API key is looked up again"
    )
    response_keep_days: int = Field(
        30, ge=1, le=3650, description="how long responses made with store are kept"
    )
    audit_retention_days: int = Field(90, ge=1, description="age at which audit rows are purged")


@cache
def settings() -> Settings:
    """The settings of this process. Raises SettingsError that lists every fault by name."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    return load(Settings, PREFIX, known | WorkerSettings.environment_names() | LAUNCHER_NAMES)
