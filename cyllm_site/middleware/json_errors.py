"""JSON errors for API clients instead of Django's error pages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from api.gateway.http.disconnect import Message, Scope, Send
from api.openai.errors.access import Forbidden, MethodNotAllowed, TooManySignIns, UnknownUrl
from api.openai.errors.base import ApiError, printable
from api.openai.errors.parameters import InvalidRequest
from api.openai.errors.service import InternalError
from cyllm_site.middleware.error_responses import send_error

BROWSER_ROOTS = frozenset({"", "admin", "console", "docs", "favicon.ico", "i18n", "static"})
JSON_ROOT = "api"


class JsonErrors:
    """A ``send`` callable that replaces Django's error pages with errors from the catalogue."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope, self._send = scope, send
        self._is_replaced = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] >= 400 and not is_json(message):
            self._is_replaced = True
            await send_error(self._send, self._error(message["status"], dict(message["headers"])))
        elif not self._is_replaced:
            await self._send(message)

    def _error(self, status: int, headers: Mapping[bytes, bytes]) -> ApiError:
        method, path = printable(self._scope["method"]), printable(self._scope["path"])
        if status == 404:
            return UnknownUrl(method=method, path=path)
        if status == 405:
            allow = headers.get(b"Allow", headers.get(b"allow", b"")).decode("latin-1")
            return MethodNotAllowed(method=method, path=path, allowed_methods=allow, headers={"allow": allow})
        if status == 403:
            return Forbidden()
        if status == 429:
            wait = headers.get(b"Retry-After", b"1").decode("latin-1")
            return TooManySignIns(headers={"retry-after": wait})
        if status < 500:
            return InvalidRequest(reason="the host name, address or format is not accepted")
        return InternalError()


def is_json(message: Message) -> bool:
    """Return whether a response is an error of the administrative API, which is complete."""
    headers = {name.lower(): value for name, value in message["headers"]}
    return bool(headers.get(b"content-type", b"").startswith(b"application/json"))


def accepts_html(scope: Scope) -> bool:
    """Return whether the client accepts HTML; for browser pages, unless it explicitly accepts JSON.

    Answers of the administrative API are JSON whatever the client accepts.
    """
    root = scope["path"].lstrip("/").partition("/")[0]
    if root == JSON_ROOT:
        return False
    media_types = accepted_types(value for name, value in scope["headers"] if name == b"accept")
    if "text/html" in media_types:
        return True
    return root in BROWSER_ROOTS and "application/json" not in media_types


def accepted_types(values: Iterable[bytes]) -> frozenset[str]:
    """Return the media types of Accept headers, except those with ``q=0``."""
    media_types = set()
    for entry in ",".join(value.decode("latin-1") for value in values).split(","):
        media_type, *parameters = (part.strip().lower() for part in entry.split(";"))
        if "q=0" not in parameters:
            media_types.add(media_type)
    return frozenset(media_types)
