"""Errors about resumable streams and stored responses."""

from __future__ import annotations

from api.openai.errors.base import ApiError


class StreamNotFound(
    ApiError,
    code="stream_not_found",
    status=404,
    message="The stream '{id}' does not exist or you do not have access to it.",
    fix="Check the id. A stream expires `CYLLM_STREAM_LOG_KEEP_S` after its end.",
):
    id: str


class EventsExpired(
    ApiError,
    code="events_expired",
    status=410,
    message="Events of this stream before number {first} have expired.",
    fix="Resume sooner; operators: increase `CYLLM_STREAM_LOG_BYTES`.",
):
    first: int


class RequestCancelled(
    ApiError,
    code="request_cancelled",
    status=499,
    message="The request was cancelled.",
    fix="It was cancelled or deleted with a key of the same tenant.",
):
    pass


class TooManyStreams(
    ApiError,
    code="too_many_streams",
    status=429,
    message="This tenant already has {limit} active detached requests. Please try again.",
    fix="Wait until one ends, or cancel one; operators: increase `CYLLM_DETACHED_PER_TENANT` or "
    "`CYLLM_STREAM_LOGS_PER_TENANT`.",
):
    limit: int


class StreamLost(
    ApiError,
    code="stream_lost",
    status=503,
    message="The gateway process that ran this request died before the response was complete.",
    fix="Send the request again; operators: check the gateway's log.",
):
    pass


class PreviousResponseNotFound(
    ApiError,
    code="previous_response_not_found",
    status=400,
    message="Previous response with id '{response_id}' not found.",
    fix="Send the id of a stored response of this tenant. Responses with `store: false` are not stored; "
    "others expire.",
):
    response_id: str


class ResponseNotFound(
    ApiError,
    code="response_not_found",
    status=404,
    message="Response with id '{response_id}' not found.",
    fix="Check the id. Responses with `store: false` are not stored; others expire.",
):
    response_id: str


class ItemNotFound(
    ApiError,
    code="item_not_found",
    status=404,
    message="Item with id '{item_id}' not found.",
    fix="Send the item itself, or the id of an item of a stored response of this tenant.",
):
    item_id: str


class ResponseNotCancellable(
    ApiError,
    code="response_not_cancellable",
    status=400,
    message="Cannot cancel a synchronous response.",
    fix="Only responses with `background: true` can be cancelled; for others, close the connection.",
):
    pass
