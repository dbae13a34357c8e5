"""Unknown addresses."""

from __future__ import annotations

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from rest_framework.request import Request
from typing_extensions import override

from api.admin_api.access import PUBLIC
from api.admin_api.base import AdminView
from api.openai.errors.access import UnknownUrl
from api.openai.errors.base import printable


class UnknownView(AdminView):
    """404 for every method."""

    access = {"GET": PUBLIC}
    authentication_classes = []
    schema = None

    @override
    def initial(self, request: Request, *args: object, **kwargs: object) -> None:
        raise UnknownUrl(method=printable(str(request.method)), path=printable(request.path))

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """Never run: ``initial`` refuses every request."""
        raise NotImplementedError
