"""Capacity and time limits of a gateway process."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, ConfigDict, Field

from api.gateway.cors import cors_policy
from tenants.files.settings import FileLimits
from tenants.quotas.settings import QuotaDefaults


def _origins(text: str) -> str:
    cors_policy(text)
    return text


def _internal_url(text: str) -> str:
    parts = urlsplit(text)
    if text and (parts.scheme not in {"http", "https"} or not parts.hostname or parts.query):
        raise ValueError("expected http:// or https:// and a host name")
    return text


class Limits(FileLimits, QuotaDefaults):
    """Gateway limits, inherited by the settings. Times in seconds, sizes in bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gateway_max_requests: int = Field(
        512,
        ge=1,
        description="request slots per gateway process; a request with many choices takes several; beyond "
        "that, 503 with Retry-After",
    )
    gateway_tenant_share: float = Field(
        0.875,
        gt=0,
        lt=1,
        description="largest share of the request slots for a single active tenant; several tenants "
        "share evenly and always leave room for another",
    )
    max_body_bytes: int = Field(8 * 1024 * 1024, ge=1024, description="largest request body")
    gateway_body_bytes: int = Field(
        512 * 1024 * 1024,
        ge=2048,
        description="memory for request bodies per gateway process, shared among tenants like the request "
        "slots; at least twice CYLLM_MAX_BODY_BYTES",
    )
    client_body_timeout_s: float = Field(30.0, gt=0, description="time for a client to send the body")
    queue_timeout_s: float = Field(60.0, gt=0, description="time from arrival until an engine accepts")
    first_token_timeout_s: float = Field(120.0, gt=0, description="time from acceptance to the first token")
    inter_token_timeout_s: float = Field(60.0, gt=0, description="time between two tokens of a stream")
    total_timeout_s: float = Field(900.0, gt=0, description="time for a whole request")
    stream_comment_s: float = Field(
        10.0,
        gt=0,
        description="silence after which a stream sends a comment line, to keep proxies from closing "
        "the connection",
    )
    submit_attempts: int = Field(
        3, ge=1, le=5, description="workers to try per request before any data is sent to the client"
    )
    allowed_origins: Annotated[str, AfterValidator(_origins)] = Field(
        "",
        description="origins whose web pages may call the API, such as https://app.example, separated by "
        "commas; * allows all",
    )
    internal_url: Annotated[str, AfterValidator(_internal_url)] = Field(
        "",
        description="address of the gateways for workers, such as http://gateway:8000, from which they "
        "download adapters; not needed if workers read the file storage, or if it is an object store",
    )
    trusted_proxies: int = Field(
        0, ge=0, le=8, description="number of reverse proxies in front that append X-Forwarded-For"
    )

    stream_log_bytes: int = Field(
        4 * 1024 * 1024,
        ge=4096,
        description="size of one resumable stream in Redis; older events are dropped",
    )
    stream_log_keep_s: float = Field(
        600.0, gt=0, description="time a resumable stream stays readable after its end"
    )
    stream_logs_per_tenant: int = Field(
        256, ge=1, description="resumable streams per tenant; new ones replace the oldest finished ones"
    )
    detached_max: int = Field(
        256, ge=1, description="detached requests (that outlive their client) per gateway process"
    )
    detached_per_tenant: int = Field(64, ge=1, description="detached requests per tenant and gateway process")
    detached_grace_s: float = Field(
        20.0, ge=0, description="time for detached requests to finish when the gateway stops"
    )

    database_timeout_s: float = Field(
        3.0, gt=0, description="time for connecting to the database and for each statement"
    )
    key_cache_s: float = Field(
        0.8, gt=0, le=1.0, description="age at which a cached API key is looked up again"
    )
    response_keep_days: int = Field(30, ge=1, le=3650, description="days to keep stored responses")
