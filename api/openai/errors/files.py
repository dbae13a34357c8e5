"""Errors of uploaded files."""

from __future__ import annotations

from api.openai.errors.base import ApiError


class MultipartExpected(
    ApiError,
    code="multipart_expected",
    status=415,
    message="Unsupported media type: expected 'multipart/form-data' with a boundary, uncompressed.",
    fix="Upload with the SDK's `files.create`, or with `curl -F purpose=… -F file=@…`.",
):
    pass


class InvalidMultipart(
    ApiError,
    code="invalid_multipart",
    status=400,
    message="The multipart body is invalid: {reason}.",
    fix="Upload with the SDK's `files.create`, or with `curl -F purpose=… -F file=@…`.",
):
    reason: str


class FileTooLarge(
    ApiError,
    code="file_too_large",
    status=413,
    message="The file exceeds the limit of {limit} bytes.",
    fix="Upload a smaller file, or several; operators set the limit with `CYLLM_MAX_FILE_BYTES`.",
):
    limit: int


class FileQuotaExceeded(
    ApiError,
    code="file_quota_exceeded",
    status=413,
    message="With this file, the files of this tenant and its uploads in progress would exceed the limit of "
    "{limit} bytes. {advice}",
    fix="Delete files that are no longer needed, wait for other uploads, or upload a smaller file if the "
    "message says so; operators set the limit with `manage.py tenants update --stored-bytes` or "
    "`CYLLM_TENANT_FILE_BYTES`.",
):
    limit: int
    advice: str


class UploadStalled(
    ApiError,
    code="upload_stalled",
    status=408,
    message="The upload was stopped: it sent no data for {limit_s:g} s, or less than {rate} bytes per second "
    "on average.",
    fix="Send the file again without pauses; operators set the limit with `CYLLM_FILE_STALL_TIMEOUT_S`.",
):
    limit_s: float
    rate: int


class InvalidTrainingFile(
    ApiError,
    code="invalid_training_file",
    status=400,
    message="The training file is invalid: {explanation}",
    fix="Correct the lines that the message names; `manage.py datasets check FILE` lists all faults.",
):
    explanation: str


class FileNotFound(
    ApiError,
    code="file_not_found",
    status=404,
    message="The file '{file_id}' does not exist.",
    fix="List the files of this tenant with `GET /v1/files`. Files can expire.",
):
    file_id: str


class FileInUse(
    ApiError,
    code="file_in_use",
    status=400,
    message="The file '{file_id}' can't be deleted: it is used by {users}.",
    fix="Wait until the jobs that the message names have ended, or cancel them.",
):
    file_id: str
    users: str


class FileStorageUnavailable(
    ApiError,
    code="file_storage_unavailable",
    status=503,
    message="The file storage is currently unavailable. Please try again.",
    fix="Try again; operators: check the free space in `CYLLM_STATE_DIR` and the storage at "
    "`CYLLM_FILE_STORAGE_URL`. The gateway's log has the cause.",
):
    pass
