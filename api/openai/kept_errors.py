"""The errors of the catalogue about what is kept for later: resumable streams and responses."""

from __future__ import annotations

from api.openai.error_spec import ErrorSpec

STREAM_ERRORS = (
    ErrorSpec(
        "stream_not_found",
        404,
        "The stream '{id}' does not exist or you do not have access to it.",
        "Streams are kept for a while after their end, for `CYLLM_STREAM_LOG_KEEP_S`; check the id.",
    ),
    ErrorSpec(
        "events_expired",
        410,
        "Events before number {first} of this stream are not kept any more.",
        "Resume sooner; operators: raise `CYLLM_STREAM_LOG_BYTES`.",
    ),
    ErrorSpec(
        "request_cancelled",
        499,
        "The request was cancelled.",
        "Somebody with a key of the same tenant has cancelled or deleted it.",
    ),
    ErrorSpec(
        "too_many_streams",
        429,
        "{limit} requests of this tenant that outlive their connection are running already. "
        "Please try again.",
        "Wait until one has ended, or cancel one; operators: raise `CYLLM_DETACHED_PER_TENANT` or "
        "`CYLLM_STREAM_LOGS_PER_TENANT`.",
    ),
    ErrorSpec(
        "stream_lost",
        503,
        "The gateway process that ran this request was lost, and the rest of the answer with it.",
        "Send the request again; operators: look at the gateway's log.",
    ),
)

RESPONSE_ERRORS = (
    ErrorSpec(
        "previous_response_not_found",
        400,
        "Previous response with id '{response_id}' not found.",
        "Give the id of a response of this tenant that was made with `store: true` and is still kept.",
    ),
    ErrorSpec(
        "response_not_found",
        404,
        "Response with id '{response_id}' not found.",
        "Check the id; only responses made with `store: true` are kept, for a limited time.",
    ),
    ErrorSpec(
        "response_not_cancellable",
        400,
        "Cannot cancel a synchronous response.",
        "Only responses made with `background: true` can be cancelled; close the connection of others.",
    ),
)
