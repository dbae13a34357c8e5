"""Forwards bytes between clients and a server unchanged, and validates the recorded answers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import h11

from tests.validated_traffic import RecordedAnswer, assert_valid


class _Connection:
    """A client's connection and the server's, with all bytes of both directions."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self._sockets = client, server
        self._requests, self._answers = bytearray(), bytearray()
        directions = (client, server, self._requests), (server, client, self._answers)
        self._threads = [
            threading.Thread(target=_forward, args=direction, daemon=True) for direction in directions
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Close both connections and wait for what is on its way."""
        for connection in self._sockets:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for connection in self._sockets:
            connection.close()

    def recorded_answers(self) -> Iterator[RecordedAnswer]:
        """Return the answers so far."""
        return recorded_answers(bytes(self._requests), bytes(self._answers))


def _forward(source: socket.socket, target: socket.socket, record: bytearray) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            record += data
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextmanager
def recording_proxy(base_url: str) -> Iterator[str]:
    """Yield an address that leads to the server.

    Raises AssertionError at the end if an answer is invalid or no client has received one.
    """
    connections: list[_Connection] = []
    listener = socket.create_server(("127.0.0.1", 0))
    acceptor = threading.Thread(target=_accept, args=(listener, base_url, connections), daemon=True)
    acceptor.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join(10)
        for connection in connections:
            connection.close()
    answers = [answer for connection in connections for answer in connection.recorded_answers()]
    assert answers, "no client has received an answer through this address"
    assert_valid(answers)


def _accept(listener: socket.socket, base_url: str, connections: list[_Connection]) -> None:
    address = urlsplit(base_url)
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            try:
                server = socket.create_connection((address.hostname or "", address.port or 0))
            except OSError:
                client.close()  # as the server itself would refuse it
                continue
            connections.append(_Connection(client, server))


def recorded_answers(requests: bytes, answers: bytes) -> Iterator[RecordedAnswer]:
    """Return the answers of one connection, the last as far as it has arrived."""
    reader = h11.Connection(h11.SERVER)
    reader.receive_data(requests)
    rest = answers
    while isinstance(request := reader.next_event(), h11.Request):
        if not _ends(reader):
            return  # the client left before the end of its request
        answer, rest = _read_answer(request, rest)
        if answer is None:
            return
        yield answer
        reader.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
        reader.send(h11.EndOfMessage())
        if reader.our_state is not h11.DONE or reader.their_state is not h11.DONE:
            return
        reader.start_next_cycle()


def _ends(reader: h11.Connection) -> bool:
    while (event := reader.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
        if isinstance(event, h11.EndOfMessage):
            return True
    return False


def _read_answer(request: h11.Request, data: bytes) -> tuple[RecordedAnswer | None, bytes]:
    """Return the first answer in the data, and the data after it."""
    reader = h11.Connection(h11.CLIENT)
    # Of the request, only its method matters for the framing of the answer.
    reader.send(h11.Request(method=request.method, target=request.target, headers=[("host", "recorded")]))
    reader.send(h11.EndOfMessage())
    reader.receive_data(data)
    answer = None
    while (event := reader.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
        if isinstance(event, h11.Response):
            content_type = dict(event.headers).get(b"content-type", b"").decode()
            method, target = request.method.decode(), request.target.decode()
            answer = RecordedAnswer(method, target, event.status_code, content_type)
        elif isinstance(event, h11.Data) and answer is not None:
            answer.body += event.data
        elif isinstance(event, h11.EndOfMessage) and answer is not None:
            answer.is_complete = True
            return answer, reader.trailing_data[0]
    return answer, b""
