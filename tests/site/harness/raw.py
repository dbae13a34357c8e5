"""A raw HTTP client that can send malformed requests."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from typing import Any

from tests.patience import PATIENCE_S


@dataclass(frozen=True)
class RawResponse:
    """A response; ``rest`` contains the bytes after it on the connection."""

    status: int
    headers: dict[str, str]
    body: bytes
    rest: bytes = b""

    @property
    def error(self) -> dict[str, Any]:
        """The API error in the body. Raises AssertionError for any other body."""
        assert self.headers["content-type"] == "application/json", self
        document = json.loads(self.body)
        assert set(document) == {"error"}
        assert set(document["error"]) == {"message", "type", "param", "code"}
        return dict(document["error"])


def ask(port: int, *pieces: bytes, half_close: bool = False, has_body: bool = True) -> RawResponse:
    """Send the pieces and read one response; without ``has_body``, only its head."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(PATIENCE_S)
        for piece in pieces:
            connection.sendall(piece)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        return read_response(connection, has_body=has_body)


def read_response(connection: socket.socket, *, has_body: bool = True) -> RawResponse:
    """Read the next response on a connection, by its Content-Length."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        assert piece, f"closed after {data!r}"
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = int(headers.get("content-length", 0)) if has_body else 0
    while len(body) < length:
        piece = connection.recv(65536)
        assert piece, "closed within the body"
        body += piece
    return RawResponse(int(status_line.split()[1]), headers, body[:length], body[length:])
