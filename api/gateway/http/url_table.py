"""The URL table: method and path template to endpoint, scopes, schema and documentation."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from api.openai.errors.base import ApiError

Endpoint = Callable[..., Awaitable[None]]  # called with exchange, receive and sender
ErrorClasses = frozenset[type[ApiError]]
QueryParameters = Mapping[str, Mapping[str, Any]]  # JSON schemas by name
_SLASHES = re.compile("//+")
_PARAMETER = re.compile(r"\{(\w+)(:path)?\}")


@dataclass(frozen=True, slots=True)
class RouteDoc:
    """The documentation of a route in the OpenAPI document.

    ``body``: the body of a success; ``is_download``: bytes instead; ``event``: the data of each event of a
    stream. ``errors``: errors of this route, besides those that any route, key or body can cause.
    ``not_ready``: a body of status 503 that is not an error.
    """

    summary: str
    body: type[BaseModel] | None = None
    event: type[BaseModel] | None = None
    errors: ErrorClasses = frozenset()
    not_ready: type[BaseModel] | None = None
    is_download: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """One method on one path. In ``template``, ``{name}`` matches one segment, ``{name:path}`` the rest.

    ``endpoint_of`` selects the endpoint from those of the process. ``scopes``: the key needs one of them, and
    the error names the first; a route without scopes is public. ``query``: the allowed query parameters with
    their JSON schemas; None leaves the query string unchecked. ``schema``: the body; ``is_form``: a form
    with a file (multipart/form-data), of any length, instead of JSON.
    """

    method: str
    template: str
    endpoint_of: Callable[[Any], Endpoint]
    doc: RouteDoc
    scopes: tuple[str, ...] = ()
    schema: type[BaseModel] | None = None
    query: QueryParameters | None = None
    is_form: bool = False

    @property
    def path_template(self) -> str:
        """The template as it appears in records and documents."""
        return _PARAMETER.sub(r"{\1}", self.template)


@dataclass(frozen=True, slots=True)
class Resource:
    """The routes of one path by method, and the values of its parameters."""

    path_template: str
    routes: Mapping[str, Route]
    path_values: Mapping[str, str]

    @property
    def allowed_methods(self) -> str:
        """All methods, as the ``Allow`` header lists them."""
        return ", ".join(sorted({*self.routes, *(("HEAD",) if "GET" in self.routes else ()), "OPTIONS"}))

    def route(self, method: str) -> Route | None:
        """Return the route of a method. HEAD is served by GET; the server drops the body."""
        return self.routes.get("GET" if method == "HEAD" else method)


class UrlTable:
    """Resolves paths. Fixed paths precede those with parameters, which keep the order of declaration."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        by_template: dict[str, dict[str, Route]] = {}
        for route in self.routes:
            methods = by_template.setdefault(route.template, {})
            if route.method in methods:
                raise ValueError(f"{route.method} {route.template} is declared twice")
            methods[route.method] = route
        self._fixed_paths = {path: methods for path, methods in by_template.items() if "{" not in path}
        self._patterns = [
            (_pattern(template), methods) for template, methods in by_template.items() if "{" in template
        ]

    def resolve(self, path: str) -> Resource | None:
        """Return the resource at ``path``, None if there is none."""
        if (methods := self._fixed_paths.get(path)) is not None:
            return _resource(methods, {})
        for pattern, methods in self._patterns:
            if match := pattern.fullmatch(path):
                return _resource(methods, match.groupdict())
        return None


def canonical_path(path: str) -> str:
    """Return the path with single slashes and no trailing slash."""
    return _SLASHES.sub("/", path).rstrip("/") or "/"


def _resource(methods: Mapping[str, Route], path_values: Mapping[str, Any]) -> Resource:
    return Resource(next(iter(methods.values())).path_template, methods, path_values)


def _pattern(template: str) -> re.Pattern[str]:
    pieces: list[str] = []
    position = 0
    for parameter in _PARAMETER.finditer(template):
        name, rest = parameter.groups()
        pieces += [
            re.escape(template[position : parameter.start()]),
            f"(?P<{name}>{'.+' if rest else '[^/]+'})",
        ]
        position = parameter.end()
    return re.compile("".join([*pieces, re.escape(template[position:])]), re.DOTALL)
