"""Django's pages behind bounds of size and time, with errors in the API's form for whoever is no browser."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from api.gateway.http.disconnect import Message, Receive, Scope, Send
from api.gateway.http.exchange import REFUSED
from api.openai.errors.access import ClientTimeout, Forbidden, MethodNotAllowed, RequestTooLarge, UnknownUrl
from api.openai.errors.base import ApiError, printable
from api.openai.errors.parameters import InvalidRequest
from api.openai.errors.service import InternalError
from cyllm_site.refusals import send_error

BROWSER_ROOTS = frozenset({"admin", "i18n", "static"})


@dataclass(frozen=True, slots=True)
class Pages:
    """Django reads every body to its end, to disk if it is long, before it asks whose it is."""

    django: object
    max_body_bytes: int
    body_timeout_s: float

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            if (refused := scope.get("extensions", {}).get(REFUSED)) is not None:
                raise refused
            bounded = BoundedBody(receive, self.max_body_bytes, self.body_timeout_s)
            told = send if reads_html(scope) else InCatalogueForm(scope, send)
            await self.django(scope, bounded, told)  # type: ignore[operator]  # Django leaves it untyped
        except ApiError as error:
            await send_error(send, error)


class BoundedBody:
    """``receive`` of a body that may be neither too large nor too slow. Raises ApiError."""

    def __init__(self, receive: Receive, limit: int, timeout_s: float) -> None:
        self._receive, self._limit, self._timeout_s = receive, limit, timeout_s
        self._until = asyncio.get_running_loop().time() + timeout_s
        self._complete = False
        self._size = 0

    async def __call__(self) -> Message:
        if self._complete:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._until):
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
        self._complete = not message.get("more_body", False)
        return message


class InCatalogueForm:
    """``send`` that puts an entry of the catalogue in place of a page about an error."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope, self._send = scope, send
        self._replaced = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] >= 400:
            self._replaced = True
            await send_error(self._send, self._error(message["status"], dict(message["headers"])))
        elif not self._replaced:
            await self._send(message)

    def _error(self, status: int, headers: Mapping[bytes, bytes]) -> ApiError:
        method, path = printable(self._scope["method"]), printable(self._scope["path"])
        if status == 404:
            return UnknownUrl(method=method, path=path)
        if status == 405:
            allowed = headers.get(b"Allow", headers.get(b"allow", b"")).decode("latin-1")
            more = {"allow": allowed}
            return MethodNotAllowed(method=method, path=path, allowed_methods=allowed, headers=more)
        if status == 403:
            return Forbidden()
        if status < 500:
            return InvalidRequest(reason="its host name, address or form is not acceptable here")
        return InternalError()


def reads_html(scope: Scope) -> bool:
    """Whether a client accepts HTML; on pages made for browsers it does unless it asks for JSON."""
    accepted = accepted_types(value for name, value in scope["headers"] if name == b"accept")
    if "text/html" in accepted:
        return True
    root = scope["path"].lstrip("/").partition("/")[0]
    return root in BROWSER_ROOTS and "application/json" not in accepted


def accepted_types(values: Iterable[bytes]) -> frozenset[str]:
    """The media types of Accept headers that are not ruled out by ``q=0``."""
    found = set()
    for entry in ",".join(value.decode("latin-1") for value in values).split(","):
        media_type, *parameters = (part.strip().lower() for part in entry.split(";"))
        if "q=0" not in parameters:
            found.add(media_type)
    return frozenset(found)
