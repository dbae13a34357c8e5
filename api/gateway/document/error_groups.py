"""Groups of errors that several routes share, for the OpenAPI document."""

from __future__ import annotations

from api.gateway.http.url_table import ErrorClasses, Route
from api.openai.errors import access, parameters, resources, service

HTTP: ErrorClasses = frozenset(
    {
        access.InvalidHttpRequest,
        access.HeadTimeout,
        access.HeadersTooLarge,
        access.ExpectationFailed,
        access.HttpVersionNotSupported,
        access.MethodNotAllowed,
        service.GatewayStopping,
        service.InternalError,
    }
)
KEY: ErrorClasses = frozenset(
    {
        access.MissingApiKey,
        access.InvalidAuthorization,
        access.InvalidApiKey,
        access.KeyRevoked,
        access.KeyExpired,
        access.TenantInactive,
        access.InsufficientScope,
        service.DatabaseUnavailable,
    }
)
# Errors of request bodies and query parameters.
BODY: ErrorClasses = frozenset(
    {
        access.UnsupportedMediaType,
        access.RequestTooLarge,
        access.ClientTimeout,
        service.Overloaded,
        parameters.InvalidJson,
        parameters.DuplicateKey,
        parameters.JsonTooDeep,
        parameters.JsonTooComplex,
        parameters.MissingRequiredParameter,
        parameters.UnknownParameter,
        parameters.UnsupportedParameter,
        parameters.UnsupportedValue,
        parameters.InvalidType,
        parameters.InvalidValue,
        parameters.InvalidRequest,
        parameters.IntegerBelowMinValue,
        parameters.IntegerAboveMaxValue,
        parameters.DecimalBelowMinValue,
        parameters.DecimalAboveMaxValue,
        parameters.StringBelowMinLength,
        parameters.StringAboveMaxLength,
        parameters.EmptyArray,
        parameters.ArrayAboveMaxLength,
        parameters.ObjectAboveMaxProperties,
    }
)
ENGINE: ErrorClasses = frozenset(
    {
        parameters.ModelNotFound,
        parameters.UnsupportedModel,
        parameters.ContextLengthExceeded,
        parameters.ResponseTooLarge,
        service.NoWorkerAvailable,
        service.CoordinationUnavailable,
        service.WorkerLost,
        service.EventsLost,
        service.UpstreamError,
        service.EngineError,
        service.QueueTimeout,
        service.FirstTokenTimeout,
        service.InterTokenTimeout,
        service.TotalTimeout,
        service.UpstreamTimeout,
    }
)
# Errors of detached requests. They set the status only before the first event.
DETACHED: ErrorClasses = frozenset(
    {resources.TooManyStreams, resources.RequestCancelled, resources.StreamLost}
)
STREAM: ErrorClasses = frozenset({resources.StreamNotFound, service.CoordinationUnavailable})
STORED_RESPONSE: ErrorClasses = frozenset({resources.ResponseNotFound, service.CoordinationUnavailable})
LOG_READING: ErrorClasses = frozenset({resources.EventsExpired, service.TotalTimeout})
# Errors that no route sends: the client has disconnected, or the error belongs to Django's pages.
UNDOCUMENTED: ErrorClasses = frozenset({access.ClientDisconnected, access.Forbidden})


def errors_of(route: Route) -> ErrorClasses:
    """Return all errors that a route can send."""
    errors = HTTP | route.doc.errors
    if route.scopes:
        errors |= KEY
    if "{" in route.endpoint:
        errors |= {access.UnknownUrl}  # for a path value that is empty or contains a slash
    if route.schema is not None or route.query is not None:
        errors |= BODY
    return errors
