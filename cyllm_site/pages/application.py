"""Django's pages as an ASGI application, with limits on request bodies and JSON errors for API clients."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from django.utils.http import parse_header_parameters

from api.gateway.http.client_ip import scope_network
from api.gateway.http.disconnect import Message, Receive, Scope, Send
from api.gateway.http.exchange import PROTOCOL_ERROR
from api.gateway.http.request_ids import new_request_id
from api.openai.errors.base import ApiError
from api.openai.errors.parameters import InvalidRequest
from backoffice.request_ids import request_id
from cyllm_site.middleware.body_limits import BoundedBody
from cyllm_site.middleware.error_responses import send_error
from cyllm_site.middleware.json_errors import JsonErrors, accepts_html
from inference_worker.telemetry.correlation import correlation_id

REQUEST_ID_FIELD = b"x-request-id"
UPLOAD_PATH = re.compile(r"/console/[a-z0-9-]{1,63}/files/upload/", re.ASCII)
CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})  # UTF-8 and its subset


@dataclass(frozen=True, slots=True)
class LargeBodies:
    """Larger bodies for signed-in people, who upload files; ``allows`` finds out before a body is read."""

    max_bytes: int
    timeout_s: float
    allows: Callable[[Scope], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Pages:
    """Django with bounded bodies: it reads every body in full before it authenticates the client."""

    django: object
    max_body_bytes: int
    body_timeout_s: float
    uploads: LargeBodies | None = None
    trusted_proxies: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request. Its id is in the response, in log lines and in the changes that it makes."""
        new_id = new_request_id()
        tokens = request_id.set(new_id), correlation_id.set(new_id)
        try:
            await self._respond(scope, receive, _with_request_id(send, new_id))
        finally:
            request_id.reset(tokens[0])
            correlation_id.reset(tokens[1])

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if (error := scope.get("extensions", {}).get(PROTOCOL_ERROR)) is not None:
                raise error
            _check_charset(scope)
            body = await self._body(scope, receive)
            response = send if accepts_html(scope) else JsonErrors(scope, send)
            await self.django(scope, body, response)  # type: ignore[operator]  # untyped in Django
        except ApiError as error:
            await send_error(send, error)

    async def _body(self, scope: Scope, receive: Receive) -> BoundedBody:
        uploads, network = self.uploads, scope_network(scope, self.trusted_proxies)
        if uploads is not None and UPLOAD_PATH.fullmatch(scope["path"]) and await uploads.allows(scope):
            return BoundedBody(receive, uploads.max_bytes, uploads.timeout_s, network)
        return BoundedBody(receive, self.max_body_bytes, self.body_timeout_s, network)


def _check_charset(scope: Scope) -> None:
    """Check that the content type declares UTF-8 or no encoding. Raises InvalidRequest.

    Django decodes the query string with it, too, and fails on Python codecs that are not text encodings.
    """
    values = [value.decode("latin-1") for name, value in scope["headers"] if name == b"content-type"]
    try:
        _, parameters = parse_header_parameters(",".join(values))
    except ValueError:
        raise InvalidRequest(reason="the header Content-Type is not valid") from None
    if parameters.get("charset", "utf-8").lower() not in CHARSETS:
        raise InvalidRequest(reason="the header Content-Type declares an encoding other than UTF-8")


def _with_request_id(send: Send, new_id: str) -> Send:
    async def send_with_id(message: Message) -> None:
        if message["type"] == "http.response.start":
            others = [field for field in message["headers"] if field[0].lower() != REQUEST_ID_FIELD]
            message = {**message, "headers": [*others, (REQUEST_ID_FIELD, new_id.encode())]}
        await send(message)

    return send_with_id
