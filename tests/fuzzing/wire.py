"""HTTP as bytes: sends requests that libraries refuse to send, and returns all of the response."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from types import TracebackType

RESPONSE_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Raw:
    """A response. ``headers`` are in their order, with names in lower case."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    took_s: float

    def header(self, name: str) -> str | None:
        """Return the only header of that name."""
        values = [value for key, value in self.headers if key == name]
        assert len(values) < 2, f"{name} was sent twice"
        return values[0] if values else None


@dataclass
class Connection:
    """A persistent connection, reopened after the server closes it."""

    host: str
    port: int
    _reader: asyncio.StreamReader | None = None
    _writer: asyncio.StreamWriter | None = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def __aenter__(self) -> Connection:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def ask(self, request: bytes) -> Raw:
        """Send a request and return the response. Raises OSError or EOFError if there is none."""
        async with self._lock, asyncio.timeout(RESPONSE_TIMEOUT_S):
            start = time.monotonic()
            if self._writer is None:
                self._reader, self._writer = await asyncio.open_connection(self.host, self.port)
            self._writer.write(request)
            await self._writer.drain()
            try:
                return await self._read_response(start)
            except BaseException:
                await self._close()
                raise

    async def _read_response(self, start: float) -> Raw:
        assert self._reader is not None
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.rstrip("\r\n").split("\r\n")
        pairs = [line.split(":", 1) for line in lines]
        headers = [(name.lower(), value.strip(" \t")) for name, value in pairs]
        status = int(first.split(" ")[1])
        fields = dict(headers)
        if status == 204:
            fields["content-length"] = "0"
        if fields.get("transfer-encoding") == "chunked":
            body = await self._chunks()
        elif "content-length" in fields:
            body = await self._reader.readexactly(int(fields["content-length"]))
        else:
            body = await self._reader.read()
        if fields.get("connection") == "close" or (
            "content-length" not in fields and "transfer-encoding" not in fields
        ):
            await self._close()
        return Raw(status, headers, body, time.monotonic() - start)

    async def _chunks(self) -> bytes:
        assert self._reader is not None
        body = bytearray()
        while size := int(await self._reader.readline(), 16):
            body += (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readexactly(2)
        return bytes(body)

    async def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None


def request(method: str, path: str, headers: list[tuple[str, str]], body: bytes) -> bytes:
    """Return the bytes of a request, without escaping or checks."""
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogatepass") + body
