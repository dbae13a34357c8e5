"""HTTP by hand, over a socket: what a client library would never send."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Raw:
    """An answer as it came; ``rest`` is what followed it on the connection."""

    status: int
    headers: dict[str, str]
    body: bytes
    rest: bytes = b""

    @property
    def error(self) -> dict[str, Any]:
        """The error in the API's form. Fails for every other form."""
        assert self.headers["content-type"] == "application/json", self
        document = json.loads(self.body)
        assert set(document) == {"error"}
        assert set(document["error"]) == {"message", "type", "param", "code"}
        return dict(document["error"])


def ask(port: int, *pieces: bytes, half_close: bool = False, whole: bool = True) -> Raw:
    """Send the pieces and read one answer; ``whole``: with the body that its head announces."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(10)
        for piece in pieces:
            connection.sendall(piece)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        return read_answer(connection, whole=whole)


def read_answer(connection: socket.socket, *, whole: bool = True) -> Raw:
    """The next answer on a connection, by its Content-Length."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        assert piece, f"closed after {data!r}"
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = int(headers.get("content-length", 0)) if whole else 0
    while len(body) < length:
        piece = connection.recv(65536)
        assert piece, "closed within the body"
        body += piece
    return Raw(int(first.split()[1]), headers, body[:length], body[length:])
