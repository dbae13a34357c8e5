"""Errors of the platform and its engines, timeouts included."""

from __future__ import annotations

from api.openai.errors.base import ApiError


class NoWorkerAvailable(
    ApiError,
    code="no_worker_available",
    status=503,
    message="No worker is currently ready to serve this model. Please try again.",
    fix="Try again after `Retry-After`; operators: start a worker for the model, or check why none is ready.",
):
    pass


class AdapterUnavailable(
    ApiError,
    code="adapter_unavailable",
    status=503,
    message="The weights of this fine-tuned model can't be loaded at the moment. Please try again.",
    fix="Try again; operators: find the cause under the request's id in the worker's log, and check that "
    "workers reach the file storage (`CYLLM_WORKER_ARTIFACT_DIR` or `CYLLM_INTERNAL_URL`).",
):
    pass


class Overloaded(
    ApiError,
    code="overloaded",
    status=503,
    message="The server is at its limit of concurrent requests. Please try again.",
    fix="Try again after `Retry-After`; operators: add gateways or workers, or increase "
    "`CYLLM_GATEWAY_MAX_REQUESTS` or `CYLLM_GATEWAY_BODY_BYTES`.",
):
    pass


class RedisUnavailable(
    ApiError,
    code="redis_unavailable",
    status=503,
    message="The coordination service is currently unavailable. Please try again.",
    fix="Try again; operators: check Redis at `CYLLM_REDIS_URL`.",
):
    pass


class DatabaseUnavailable(
    ApiError,
    code="database_unavailable",
    status=503,
    message="The database is currently unavailable. Please try again.",
    fix="Try again; operators: check Postgres at `CYLLM_DATABASE_URL`.",
):
    pass


class GatewayStopping(
    ApiError,
    code="gateway_stopping",
    status=503,
    message="This gateway is shutting down. Please try again.",
    fix="Try again; another gateway, or the restarted one, will respond.",
):
    pass


class WorkerLost(
    ApiError,
    code="worker_lost",
    status=503,
    message="The worker that ran this request died, and no other worker could take over.",
    fix="Send the request again; operators: check the worker's log.",
):
    pass


class EventsLost(
    ApiError,
    code="events_lost",
    status=502,
    message="Part of the response was lost in transit, so the request was stopped.",
    fix="Send the request again.",
):
    pass


class UpstreamError(
    ApiError,
    code="upstream_error",
    status=502,
    message="The remote engine could not be reached, or its connection broke.",
    fix="Send the request again; operators: check the engine behind the worker.",
):
    pass


class EngineError(
    ApiError,
    code="engine_error",
    status=500,
    message="The engine failed to process this request.",
    fix="Send the request again; operators: find the cause under the request's id in the worker's log.",
):
    pass


class InternalError(
    ApiError,
    code="internal_error",
    status=500,
    message="The server had an error while processing your request.",
    fix="Send the request again; operators: find the cause under the request's id in the gateway's log.",
):
    pass


class QueueTimeout(
    ApiError,
    code="queue_timeout",
    status=504,
    message="Timeout in stage 'queue' while waiting for an engine to accept the request: {elapsed_s:.1f} "
    "s elapsed, limit {limit_s:g} s.",
    fix="Try again, or send a smaller request; operators: find the bottleneck, or increase "
    "`CYLLM_QUEUE_TIMEOUT_S`.",
):
    elapsed_s: float
    limit_s: float


class FirstTokenTimeout(
    ApiError,
    code="first_token_timeout",
    status=504,
    message="Timeout in stage 'first_token' while waiting for the first token: {elapsed_s:.1f} s elapsed, "
    "limit {limit_s:g} s.",
    fix="Try again, or send a smaller request; operators: find the bottleneck, or increase "
    "`CYLLM_FIRST_TOKEN_TIMEOUT_S`.",
):
    elapsed_s: float
    limit_s: float


class InterTokenTimeout(
    ApiError,
    code="inter_token_timeout",
    status=504,
    message="Timeout in stage 'inter_token' while waiting for the next token: {elapsed_s:.1f} s elapsed, "
    "limit {limit_s:g} s.",
    fix="Try again, or send a smaller request; operators: find the bottleneck, or increase "
    "`CYLLM_INTER_TOKEN_TIMEOUT_S`.",
):
    elapsed_s: float
    limit_s: float


class TotalTimeout(
    ApiError,
    code="total_timeout",
    status=504,
    message="Timeout in stage 'total' while processing the whole request: {elapsed_s:.1f} s elapsed, "
    "limit {limit_s:g} s.",
    fix="Try again, or send a smaller request; operators: find the bottleneck, or increase "
    "`CYLLM_TOTAL_TIMEOUT_S`.",
):
    elapsed_s: float
    limit_s: float


class UpstreamTimeout(
    ApiError,
    code="upstream_timeout",
    status=504,
    message="Timeout in stage 'upstream' while waiting for the remote engine: {elapsed_s:.1f} s elapsed, "
    "limit {limit_s:g} s.",
    fix="Try again, or send a smaller request; operators: find the bottleneck, or increase "
    "`CYLLM_WORKER_UPSTREAM_TIMEOUT_S`.",
):
    elapsed_s: float
    limit_s: float
