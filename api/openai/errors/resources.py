"""Errors about resumable streams and stored responses."""

from __future__ import annotations

from api.openai.errors.base import ApiError


class StreamNotFound(
    ApiError,
    code="stream_not_found",
    status=404,
    message="The stream '{id}' does not exist or you do not have access to it.",
    fix="Streams are kept for a while after their end, for `CYLLM_STREAM_LOG_KEEP_S`; check the id.",
):
    id: str


class EventsExpired(
    ApiError,
    code="events_expired",
    status=410,
    message="Events before number {first} of this stream are not kept any more.",
    fix="Resume sooner; operators: raise `CYLLM_STREAM_LOG_BYTES`.",
):
    first: int


class RequestCancelled(
    ApiError,
    code="request_cancelled",
    status=499,
    message="The request was cancelled.",
    fix="Somebody with a key of the same tenant has cancelled or deleted it.",
):
    pass


class TooManyStreams(
    ApiError,
    code="too_many_streams",
    status=429,
    message="{limit} requests of this tenant that outlive their connection are running already. Please "
    "try again.",
    fix="Wait until one has ended, or cancel one; operators: raise `CYLLM_DETACHED_PER_TENANT` or "
    "`CYLLM_STREAM_LOGS_PER_TENANT`.",
):
    limit: int


class StreamLost(
    ApiError,
    code="stream_lost",
    status=503,
    message="The gateway process that ran this request was lost, and the rest of the answer with it.",
    fix="Send the request again; operators: look at the gateway's log.",
):
    pass


class PreviousResponseNotFound(
    ApiError,
    code="previous_response_not_found",
    status=400,
    message="Previous response with id '{response_id}' not found.",
    fix="Give the id of a response of this tenant that was made with `store: true` and is still kept.",
):
    response_id: str


class ResponseNotFound(
    ApiError,
    code="response_not_found",
    status=404,
    message="Response with id '{response_id}' not found.",
    fix="Check the id; only responses made with `store: true` are kept, for a limited time.",
):
    response_id: str


class ResponseNotCancellable(
    ApiError,
    code="response_not_cancellable",
    status=400,
    message="Cannot cancel a synchronous response.",
    fix="Only responses made with `background: true` can be cancelled; close the connection of others.",
):
    pass
