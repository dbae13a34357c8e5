"""Routes of uploaded files."""

from __future__ import annotations

from collections.abc import Iterator

from api.gateway.document import error_groups
from api.gateway.endpoints.files import LIST_QUERY
from api.gateway.http.url_table import Route, RouteDoc
from api.openai.errors.files import FileInUse
from api.openai.schemas.files import FileRequest
from api.openai.schemas.response_bodies.files import FileDeleted, FileList, FileObject
from tenants.choices import Scope

MANAGE_FILES = (Scope.FILES.value,)
READ_FILES = (Scope.FILES_READ.value, Scope.FILES.value)


def file_routes() -> Iterator[Route]:
    """Return the routes of files and of their contents."""
    yield from _collection_routes()
    yield from _file_routes()


def _collection_routes() -> Iterator[Route]:
    yield Route(
        "POST",
        "/v1/files",
        lambda endpoints: endpoints.files.create,
        RouteDoc("Upload a file.", FileObject),
        MANAGE_FILES,
        FileRequest,
        query={},
        is_form=True,
    )
    yield Route(
        "GET",
        "/v1/files",
        lambda endpoints: endpoints.files.list,
        RouteDoc("List the tenant's files.", FileList),
        READ_FILES,
        query=LIST_QUERY,
    )


def _file_routes() -> Iterator[Route]:
    yield Route(
        "GET",
        "/v1/files/{id}",
        lambda endpoints: endpoints.files.retrieve,
        RouteDoc("Retrieve the metadata of a file.", FileObject, errors=error_groups.FILE),
        READ_FILES,
        query={},
    )
    yield Route(
        "DELETE",
        "/v1/files/{id}",
        lambda endpoints: endpoints.files.delete,
        RouteDoc("Delete a file that no job needs.", FileDeleted, errors=error_groups.FILE | {FileInUse}),
        MANAGE_FILES,
        query={},
    )
    yield Route(
        "GET",
        "/v1/files/{id}/content",
        lambda endpoints: endpoints.files.content,
        RouteDoc("Download a file.", errors=error_groups.FILE, is_download=True),
        READ_FILES,
        query={},
    )
