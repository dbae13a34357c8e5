"""The OpenAPI document: descriptions of the operations, and hooks of drf-spectacular."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from drf_spectacular.contrib.pydantic import PydanticExtension
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from pydantic import BaseModel
from typing_extensions import override

from api.openai.schemas.response_bodies.base import ErrorAnswer

Handler = TypeVar("Handler", bound=Callable[..., Any])

REASONS: Mapping[int, str] = {
    400: "The request is invalid; the error names the parameter.",
    401: "The API key or the session is missing or invalid.",
    403: "The caller's role or scope does not allow this.",
    404: "There is no such object, or it belongs to another tenant.",
    405: "The method is not allowed.",
    408: "The body did not arrive in time.",
    412: "The object has changed since it was read.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    422: "The Idempotency-Key was used for another request.",
    428: "The header If-Match is missing.",
    429: "The caller has sent too many requests within a minute.",
    500: "The server failed.",
    503: "A store is unavailable.",
}
COMMON_ERRORS = (400, 401, 403, 404, 405, 429, 500, 503)
BODY_ERRORS = (408, 413, 415)
IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    OpenApiParameter.HEADER,
    description="A random text. A repetition within 24 hours gets the first answer again.",
)
IF_MATCH = OpenApiParameter(
    "If-Match",
    str,
    OpenApiParameter.HEADER,
    required=True,
    description="The `ETag` of the object that was read, or `*` for any version.",
)
# Read as text, so that any other text gets the same 404 as an unknown id.
KEY_ID = OpenApiParameter("key_id", OpenApiTypes.UUID, OpenApiParameter.PATH)


def operation(
    summary: str,
    answer: type[BaseModel] | None,
    *,
    status: int = 200,
    body: type[BaseModel] | None = None,
    query: type[BaseModel] | None = None,
    parameters: Sequence[OpenApiParameter] = (),
    errors: Sequence[int] = (),
) -> Callable[[Handler], Handler]:
    """Describe a handler. Every operation has the errors of ``COMMON_ERRORS`` in addition to ``errors``."""
    statuses = {*COMMON_ERRORS, *errors, *(BODY_ERRORS if body else ())}
    if IDEMPOTENCY_KEY in parameters:
        statuses.add(422)
    if IF_MATCH in parameters:
        statuses |= {412, 428}
    responses: dict[int, Any] = {
        number: OpenApiResponse(ErrorAnswer, description=REASONS[number]) for number in sorted(statuses)
    }
    responses[status] = OpenApiResponse(answer, description="Success.")
    decorator: Callable[[Handler], Handler] = extend_schema(
        summary=summary,
        description="",
        request=body,
        responses=responses,
        parameters=[*parameters, *(_query_parameters(query) if query else ())],
    )
    return decorator


def _query_parameters(model: type[BaseModel]) -> list[OpenApiParameter]:
    schema = model.model_json_schema()
    return [
        OpenApiParameter(
            name,
            {key: value for key, value in _plain(details).items() if key not in ("title", "description")},
            OpenApiParameter.QUERY,
            required=name in schema.get("required", ()),
            description=details.get("description", ""),
        )
        for name, details in schema["properties"].items()
    ]


def _plain(details: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a parameter without null, which a query can't express."""
    options = [option for option in details.get("anyOf", ()) if option.get("type") != "null"]
    schema = {**details, **options[0]} if options else dict(details)
    schema.pop("anyOf", None)
    if schema.get("default", ...) is None:
        schema.pop("default")
    return schema


class AdminSchema(AutoSchema):
    """Names of the operations: by method and view, grouped by resource."""

    @override
    def get_operation_id(self) -> str:
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(self.view).__name__.removesuffix("View")).lower()
        return f"{str(self.method).lower()}_{name}"

    @override
    def get_tags(self) -> list[str]:
        parts = str(self.path).removeprefix("/api/admin/v1/").split("/")
        return [parts[2] if parts[0] == "tenants" and len(parts) > 2 else parts[0]]


class RequestModelExtension(PydanticExtension):  # type: ignore[no-untyped-call]
    """Schemas of pydantic models; a request field with a default may be omitted."""

    priority = 1

    @override
    def map_serializer(self, auto_schema: Any, direction: Any) -> Any:
        mode = "validation" if direction == "request" else "serialization"
        schema = self.target.model_json_schema(ref_template="#/components/schemas/{model}", mode=mode)
        for name, part in schema.pop("$defs", {}).items():
            component = ResolvedComponent(  # type: ignore[no-untyped-call]
                name=name, type=ResolvedComponent.SCHEMA, object=name, schema=part
            )
            auto_schema.registry.register_on_missing(component)
        return schema


class KeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """The document's name for API keys."""

    target_class = "api.admin_api.callers.KeyAuthentication"
    name = "key"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:  # noqa: ARG002
        """Return the security scheme."""
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "A key with the scope admin or admin.read.",
        }


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """The document's name for sessions."""

    target_class = "api.admin_api.callers.PersonAuthentication"
    name = "session"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:  # noqa: ARG002
        """Return the security scheme."""
        return {"type": "apiKey", "in": "cookie", "name": "sessionid", "description": "A signed-in person."}
