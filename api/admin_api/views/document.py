"""The OpenAPI document of the administrative API."""

from __future__ import annotations

import functools
from typing import Any

from django.urls import include, path
from drf_spectacular.generators import SchemaGenerator
from rest_framework.request import Request
from rest_framework.response import Response

from api.admin_api.access import PUBLIC
from api.admin_api.base import AdminView


class DocumentView(AdminView):
    """The document, for everybody."""

    access = {"GET": PUBLIC}
    authentication_classes = []
    schema = None

    def get(self, request: Request) -> Response:
        """Return the document."""
        return Response(admin_document())


@functools.cache
def admin_document() -> dict[str, Any]:
    """Return the OpenAPI document of the administrative API."""
    patterns = [path("api/admin/v1/", include("api.admin_api.urls"))]
    generator = SchemaGenerator(patterns=patterns)  # type: ignore[no-untyped-call]
    document: dict[str, Any] = generator.get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return document
