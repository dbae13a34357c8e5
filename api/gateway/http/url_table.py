"""What the gateway answers, as a table: method and path template to handler, scopes and schema."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

Handler = Callable[..., Awaitable[None]]  # of a gateway, an exchange, its receive, its answer
_PARAMETER = re.compile(r"\{(\w+)(:path)?\}")


@dataclass(frozen=True, slots=True)
class Route:
    """One method on one path. ``{name}`` in ``template`` takes one segment, ``{name:path}`` the whole rest.

    ``scopes``: one of them is needed; the first is named in the refusal, none means that no key is needed.
    ``query``: the parameters that the address may carry; None: they are not looked at.
    """

    method: str
    template: str
    handler: Handler
    scopes: tuple[str, ...] = ()
    schema: type[BaseModel] | None = None
    query: tuple[str, ...] | None = None

    @property
    def endpoint(self) -> str:
        """The path as records and documents name it: never one that a client made."""
        return _PARAMETER.sub(r"{\1}", self.template)


@dataclass(frozen=True, slots=True)
class Resource:
    """What is at a path: its routes by method, and the values in the path."""

    endpoint: str
    routes: Mapping[str, Route]
    values: Mapping[str, str]

    @property
    def allowed(self) -> str:
        """All methods, as the ``Allow`` header lists them."""
        return ", ".join(sorted({*self.routes, *(("HEAD",) if "GET" in self.routes else ()), "OPTIONS"}))

    def route(self, method: str) -> Route | None:
        """The route of a method. HEAD is GET, of whose answer the server sends the head alone."""
        return self.routes.get("GET" if method == "HEAD" else method)


class RouteTable:
    """Finds what is at a path. Fixed paths go before those with parameters, these in the order given."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        by_template: dict[str, dict[str, Route]] = {}
        for route in self.routes:
            methods = by_template.setdefault(route.template, {})
            if route.method in methods:
                raise ValueError(f"{route.method} {route.template} is there twice")
            methods[route.method] = route
        self._fixed = {path: methods for path, methods in by_template.items() if "{" not in path}
        self._patterns = [
            (_pattern(template), methods) for template, methods in by_template.items() if "{" in template
        ]

    def find(self, path: str) -> Resource | None:
        """What is at ``path``; None where nothing is."""
        if (methods := self._fixed.get(path)) is not None:
            return _resource(methods, {})
        for pattern, methods in self._patterns:
            if match := pattern.fullmatch(path):
                return _resource(methods, match.groupdict())
        return None


def _resource(methods: Mapping[str, Route], values: Mapping[str, Any]) -> Resource:
    return Resource(next(iter(methods.values())).endpoint, methods, values)


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
