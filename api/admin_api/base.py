"""The base of the views: rule, tenant, body and query of a request."""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar, cast

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import translation
from pydantic import BaseModel
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from typing_extensions import override

from api.admin_api.access import PUBLIC, Rule, check_caller, tenant_of_caller
from api.admin_api.callers import Caller, KeyAuthentication, PersonAuthentication
from api.admin_api.document import AdminSchema
from api.admin_api.parsing import StrictJsonParser, body_values, query_values
from api.admin_api.rate import count_request
from api.openai.errors.access import UnknownUrl
from api.openai.errors.base import printable
from tenants.models import Tenant

Body = TypeVar("Body", bound=BaseModel)
HANDLERS = ("get", "post", "put", "patch", "delete")


class JsonOnly(BaseContentNegotiation):
    """Answers are JSON whatever the client accepts, as in the public API."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        """Return the first parser that takes the body's media type."""
        media_type = (request.content_type or "").partition(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == media_type), None)

    def select_renderer(
        self,
        request: Request,  # noqa: ARG002 - DRF's interface
        renderers: Any,
        format_suffix: str | None = None,  # noqa: ARG002 - DRF's interface
    ) -> tuple[BaseRenderer, str]:
        """Return the JSON renderer."""
        return renderers[0], renderers[0].media_type


class AdminView(APIView):
    """A view of the administrative API. ``access`` has the rule of every method.

    A view whose address contains ``tenant`` finds it in ``self.tenant``, checked by the rule.
    """

    access: ClassVar[dict[str, Rule]]
    authentication_classes = [KeyAuthentication, PersonAuthentication]
    permission_classes = []
    parser_classes = [StrictJsonParser]
    renderer_classes = [JSONRenderer]
    content_negotiation_class = JsonOnly
    metadata_class = None
    schema: Any = AdminSchema()
    caller: Caller
    tenant: Tenant

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        methods = {name.upper() for name in HANDLERS if hasattr(cls, name)}
        if methods != set(getattr(cls, "access", {})):
            raise TypeError(f"{cls.__name__}.access must have a rule for each of {sorted(methods)}")

    @override
    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        # Errors of the services are translated for pages; the API's are English.
        with translation.override("en"):
            response = super().dispatch(request, *args, **kwargs)
            response.headers.setdefault("Cache-Control", "no-store")
            return response

    @override
    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        if "\0" in request.path:  # Postgres can't store NUL in text
            raise UnknownUrl(method=printable(str(request.method)), path=printable(request.path))
        super().initial(request, *args, **kwargs)
        if request.auth is not None:
            count_request(cast("Caller", request.auth))
        method = "GET" if request.method == "HEAD" else str(request.method)
        rule = self.access.get(method)
        if rule is None or rule is PUBLIC:
            return
        caller = cast("Caller | None", request.auth)
        if "tenant" in kwargs and caller is not None:
            self.caller = caller
            self.tenant = tenant_of_caller(caller, kwargs.pop("tenant"), rule)
            self.kwargs.pop("tenant", None)
        else:
            self.caller = check_caller(caller, rule)

    def body(self, model: type[Body]) -> Body:
        """Return the validated body. Raises ApiError."""
        return body_values(model, self.request.data)

    def query(self, model: type[Body]) -> Body:
        """Return the validated query parameters. Raises ApiError."""
        return query_values(model, self.request._request.META.get("QUERY_STRING", ""))


def answer(body: BaseModel, status: int = 200, **headers: str) -> Response:
    """Return a response with a body."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(body.model_dump(mode="json"), status=status, headers=fields)
