"""API errors for failed attempts. Only faults of the request itself are explained to the client."""

from __future__ import annotations

import logging

from api.gateway.stages.models.context_length import context_error
from api.openai.errors.base import ApiError, printable
from api.openai.errors.parameters import InvalidRequest, InvalidValue, ResponseTooLarge, UnsupportedParameter
from api.openai.errors.service import (
    AdapterUnavailable,
    EngineError,
    EventsLost,
    NoWorkerAvailable,
    Overloaded,
    RedisUnavailable,
    UpstreamError,
    UpstreamTimeout,
    WorkerLost,
)
from inference_worker.client.interface import LossCause, Lost
from inference_worker.protocol import faults
from inference_worker.protocol.messages import Failed, FailureKind, Operation
from inference_worker.protocol.operations import OPERATION_SPECS

logger = logging.getLogger("cyllm.gateway.engine")

RETRYABLE_KINDS = frozenset({FailureKind.REFUSED, FailureKind.UPSTREAM})
CLIENT_ERROR_STATUSES = frozenset({400, 413, 422})
NO_REASON = "the engine rejected it"


def is_retryable(event: Failed | Lost) -> bool:
    """Return whether another worker may serve the request, provided that the client has received nothing."""
    return isinstance(event, Lost) or event.kind in RETRYABLE_KINDS


def attempt_error(event: Failed | Lost, operation: Operation, elapsed_s: float) -> ApiError:
    """Return the client's error for a failed attempt. ``elapsed_s``: time since its submission."""
    if isinstance(event, Lost):
        return _loss_error(event.cause)
    if isinstance(event.fault, faults.AdapterFault):
        logger.error("adapter unavailable: %s", event.fault.reason)
        return AdapterUnavailable()
    match event.kind:
        case FailureKind.REFUSED:
            return NoWorkerAvailable()
        case FailureKind.CANCELLED:
            # By a worker that is stopping: the gateway no longer listens to calls that it cancels itself.
            return WorkerLost()
        case FailureKind.UPSTREAM:
            return _upstream_error(event, elapsed_s)
        case FailureKind.REQUEST if event.status in CLIENT_ERROR_STATUSES:
            return _request_error(event.fault, operation)
        case FailureKind.REQUEST if event.status == 429:
            return Overloaded()
    logger.error("engine failed with status %d (%s)", event.status, event.kind)
    return EngineError()


def _loss_error(cause: LossCause) -> ApiError:
    if cause is LossCause.EVENTS_LOST:
        return EventsLost()
    return RedisUnavailable() if cause is LossCause.TRANSPORT_LOST else WorkerLost()


def _upstream_error(event: Failed, elapsed_s: float) -> ApiError:
    if event.status == 504 and isinstance(event.fault, faults.UpstreamSilence):
        return UpstreamTimeout(elapsed_s=elapsed_s, limit_s=event.fault.limit_s)
    return Overloaded() if event.status == 503 else UpstreamError()


def _request_error(fault: faults.RequestFault | None, operation: Operation) -> ApiError:
    match fault:
        case faults.ContextOverflow():
            return context_error(fault, operation)
        case faults.ResponseTooLarge():
            return ResponseTooLarge(size=fault.response_bytes, limit=fault.limit_bytes)
        case faults.ToolsUnsupported():
            return UnsupportedParameter(param="tools", reason="this model is served without tools")
        case faults.DimensionsUnsupported():
            reason = "the embeddings of this model have a fixed length"
            return UnsupportedParameter(param="dimensions", reason=reason)
        case faults.InvalidDimensions():
            reason = f"this model supports dimensions {printable(fault.supported)}, not {fault.dimensions}"
            return InvalidValue(param="dimensions", reason=reason)
        case faults.UnknownTokenId():
            prompt = OPERATION_SPECS[operation].prompt_param
            return InvalidValue(param=prompt, reason=f"{fault.token_id} is not a token id of this model")
        case faults.InvalidParameter():
            return InvalidValue(param=fault.param, reason=printable(fault.reason) or NO_REASON)
        case faults.OtherFault():
            return InvalidRequest(reason=printable(fault.reason) or NO_REASON)
    # An older worker sends no fault, and an unknown fault of a newer one is dropped.
    return InvalidRequest(reason=NO_REASON)
