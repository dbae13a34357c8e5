"""HTTP as bytes: sends what a library would refuse to send, and hides nothing of the answer."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from types import TracebackType

ANSWER_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Raw:
    """One answer. ``headers`` in their order, names in lower case."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    took_s: float

    def header(self, name: str) -> str | None:
        """The only header of that name."""
        values = [value for key, value in self.headers if key == name]
        assert len(values) < 2, f"{name} was sent twice"
        return values[0] if values else None


@dataclass
class Connection:
    """A connection that is kept as long as the server keeps it."""

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
        """The answer to a whole request. Raises OSError or EOFError if there is none."""
        async with self._lock, asyncio.timeout(ANSWER_TIMEOUT_S):
            begun = time.monotonic()
            if self._writer is None:
                self._reader, self._writer = await asyncio.open_connection(self.host, self.port)
            self._writer.write(request)
            await self._writer.drain()
            try:
                return await self._answer(begun)
            except BaseException:
                await self._close()
                raise

    async def _answer(self, begun: float) -> Raw:
        assert self._reader is not None
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.rstrip("\r\n").split("\r\n")
        pairs = [line.split(":", 1) for line in lines]
        headers = [(name.lower(), value.strip(" \t")) for name, value in pairs]
        status = int(first.split(" ")[1])
        named = dict(headers)
        if status == 204:
            named["content-length"] = "0"
        if named.get("transfer-encoding") == "chunked":
            body = await self._chunks()
        elif "content-length" in named:
            body = await self._reader.readexactly(int(named["content-length"]))
        else:
            body = await self._reader.read()
        if named.get("connection") == "close" or (
            "content-length" not in named and "transfer-encoding" not in named
        ):
            await self._close()
        return Raw(status, headers, body, time.monotonic() - begun)

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
    """The bytes of a request; nothing is escaped or checked."""
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogatepass") + body
