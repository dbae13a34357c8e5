"""Response bodies of uploaded files."""

from __future__ import annotations

from typing import Any, Literal

from api.openai.schemas.response_bodies.base import Count, ResponseBody


class FileObject(ResponseBody):
    """An uploaded file, or one that a job has written.

    ``dataset_report``: the result of the check of a dataset, in a list always omitted.
    """

    id: str
    object: Literal["file"]
    bytes: Count
    created_at: Count
    expires_at: Count | None
    filename: str
    purpose: Literal["fine-tune", "fine-tune-results", "batch", "batch_output", "user_data"]
    status: Literal["processed"]
    status_details: None
    sha256: str
    dataset_report: dict[str, Any] | None = None


class FileList(ResponseBody):
    """A page of files. ``first_id`` and ``last_id`` are null on an empty page."""

    object: Literal["list"]
    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeleted(ResponseBody):
    """Confirms that a file was deleted."""

    id: str
    object: Literal["file"]
    deleted: Literal[True]
