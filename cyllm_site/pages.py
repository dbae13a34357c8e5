"""Django's pages with limits on request bodies, and JSON errors for API clients."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from api.gateway.http.disconnect import Message, Receive, Scope, Send
from api.gateway.http.exchange import PROTOCOL_ERROR
from api.openai.errors.access import ClientTimeout, Forbidden, MethodNotAllowed, RequestTooLarge, UnknownUrl
from api.openai.errors.base import ApiError, printable
from api.openai.errors.parameters import InvalidRequest
from api.openai.errors.service import InternalError
from cyllm_site.http_errors import send_error

BROWSER_ROOTS = frozenset({"admin", "i18n", "static"})


@dataclass(frozen=True, slots=True)
class Pages:
    """Django with bounded bodies: it reads every body in full before it authenticates the client."""

    django: object
    max_body_bytes: int
    body_timeout_s: float

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        try:
            if (error := scope.get("extensions", {}).get(PROTOCOL_ERROR)) is not None:
                raise error
            body = BoundedBody(receive, self.max_body_bytes, self.body_timeout_s)
            response = send if accepts_html(scope) else JsonErrors(scope, send)
            await self.django(scope, body, response)  # type: ignore[operator]  # untyped in Django
        except ApiError as error:
            await send_error(send, error)


class BoundedBody:
    """A ``receive`` callable that bounds the size and duration of the body. Raises ApiError."""

    def __init__(self, receive: Receive, limit: int, timeout_s: float) -> None:
        self._receive, self._limit, self._timeout_s = receive, limit, timeout_s
        self._deadline = asyncio.get_running_loop().time() + timeout_s
        self._is_complete = False
        self._size = 0

    async def __call__(self) -> Message:
        if self._is_complete:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise ClientTimeout(
                limit_s=self._timeout_s,
                elapsed_s=self._timeout_s,
                headers={"connection": "close"},
            ) from None
        self._size += len(message.get("body", b""))
        if self._size > self._limit:
            raise RequestTooLarge(limit=self._limit, headers={"connection": "close"})
        self._is_complete = not message.get("more_body", False)
        return message


class JsonErrors:
    """A ``send`` callable that replaces Django's error pages with errors from the catalogue."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope, self._send = scope, send
        self._is_replaced = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] >= 400:
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
        if status < 500:
            return InvalidRequest(reason="the host name, address or format is not accepted")
        return InternalError()


def accepts_html(scope: Scope) -> bool:
    """Return whether the client accepts HTML; for browser pages, unless it explicitly accepts JSON."""
    media_types = accepted_types(value for name, value in scope["headers"] if name == b"accept")
    if "text/html" in media_types:
        return True
    root = scope["path"].lstrip("/").partition("/")[0]
    return root in BROWSER_ROOTS and "application/json" not in media_types


def accepted_types(values: Iterable[bytes]) -> frozenset[str]:
    """Return the media types of Accept headers, except those with ``q=0``."""
    media_types = set()
    for entry in ",".join(value.decode("latin-1") for value in values).split(","):
        media_type, *parameters = (part.strip().lower() for part in entry.split(";"))
        if "q=0" not in parameters:
            media_types.add(media_type)
    return frozenset(media_types)
