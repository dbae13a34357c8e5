"""Groups of errors that several routes share, for the OpenAPI document."""

from __future__ import annotations

from api.gateway.http.url_table import ErrorClasses, Route
from api.openai.errors import access, files, fine_tuning, models, parameters, quotas, service, streams

HTTP: ErrorClasses = frozenset(
    {
        access.InvalidHttpRequest,
        access.HeadTimeout,
        access.HeadersTooLarge,
        access.ExpectationFailed,
        access.HttpsRequired,
        access.HttpVersionNotSupported,
        access.TransferCodingNotSupported,
        access.MethodNotAllowed,
        service.GatewayStopping,
        service.InternalError,
    }
)
KEY: ErrorClasses = frozenset(
    {
        access.MissingApiKey,
        access.InvalidAuthorization,
        access.ConflictingKeys,
        access.InvalidApiKey,
        access.KeyRevoked,
        access.KeyExpired,
        access.TenantInactive,
        access.IpNotAllowed,
        access.MismatchedOrganization,
        access.MismatchedProject,
        access.InsufficientScope,
        service.DatabaseUnavailable,
    }
)
# Stored responses and items that a request refers to.
PREVIOUS_RESPONSE: ErrorClasses = frozenset({streams.PreviousResponseNotFound})
CONVERSATION: ErrorClasses = PREVIOUS_RESPONSE | {streams.ItemNotFound}
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
QUOTA: ErrorClasses = frozenset(
    {quotas.RateLimitExceeded, quotas.InsufficientQuota, service.RedisUnavailable}
)
ENGINE: ErrorClasses = QUOTA | frozenset(
    {
        models.ModelNotFound,
        models.UnsupportedModel,
        parameters.ContextLengthExceeded,
        parameters.ResponseTooLarge,
        service.AdapterUnavailable,
        service.NoWorkerAvailable,
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
DETACHED: ErrorClasses = frozenset({streams.TooManyStreams, streams.RequestCancelled, streams.StreamLost})
STREAM: ErrorClasses = frozenset({streams.StreamNotFound, service.RedisUnavailable})
STORED_RESPONSE: ErrorClasses = frozenset({streams.ResponseNotFound, service.RedisUnavailable})
LOG_READING: ErrorClasses = frozenset({streams.EventsExpired, service.TotalTimeout})
FILE: ErrorClasses = frozenset({files.FileNotFound, files.FileStorageUnavailable})
FORM: ErrorClasses = QUOTA | frozenset(
    {
        files.MultipartExpected,
        files.InvalidMultipart,
        files.FileTooLarge,
        files.FileQuotaExceeded,
        files.UploadStalled,
        files.InvalidTrainingFile,
        files.FileStorageUnavailable,
        service.Overloaded,
        parameters.MissingRequiredParameter,
        parameters.UnknownParameter,
        parameters.InvalidType,
        parameters.InvalidValue,
        parameters.IntegerBelowMinValue,
        parameters.IntegerAboveMaxValue,
        parameters.StringAboveMaxLength,
    }
)
FINE_TUNING_JOB: ErrorClasses = frozenset({fine_tuning.FineTuningJobNotFound})
FINE_TUNING_ACTION: ErrorClasses = FINE_TUNING_JOB | {fine_tuning.InvalidJobState}
FINE_TUNING_RESUMPTION: ErrorClasses = FINE_TUNING_ACTION | {
    fine_tuning.TooManyJobs,
    quotas.InsufficientQuota,
}
FINE_TUNING_PUBLICATION: ErrorClasses = FINE_TUNING_JOB | {
    fine_tuning.CheckpointNotFound,
    fine_tuning.CheckpointNotPublishable,
    models.ModelNotFound,
    fine_tuning.TooManyJobs,
}
FINE_TUNING_CREATION: ErrorClasses = QUOTA | frozenset(
    {
        fine_tuning.ModelNotTrainable,
        fine_tuning.DatasetFileNotFound,
        fine_tuning.WrongFilePurpose,
        fine_tuning.WrongDatasetFormat,
        fine_tuning.InvalidDataset,
        fine_tuning.NotEnoughMemory,
        fine_tuning.TooManyJobs,
    }
)
# Errors that no route sends: the client has disconnected, or the error belongs to Django's pages.
UNDOCUMENTED: ErrorClasses = frozenset({access.ClientDisconnected, access.Forbidden, access.TooManySignIns})


def errors_of(route: Route) -> ErrorClasses:
    """Return all errors that a route can send."""
    errors = HTTP | route.doc.errors
    if route.scopes:
        errors |= KEY
    if "{" in route.path_template:
        errors |= {access.UnknownUrl}  # for a path value that is empty or contains a slash
    if route.is_form:
        return errors | FORM
    if route.schema is not None or route.query is not None:
        errors |= BODY
    return errors
