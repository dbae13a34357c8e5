"""A connection to Redis is judged by unanswered PINGs, not by the time that this process was stalled."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inference_worker.transport import redis_connection
from inference_worker.transport.address import Address
from inference_worker.transport.redis_connection import RedisConnection
from tests.patience import PATIENCE_S

CHECK_S = 0.05


class PingServer:
    """Answers every PING, unless it is silent."""

    def __init__(self) -> None:
        self.is_silent = False
        self.connection_count = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connection_count += 1
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(4096):
                if not self.is_silent:
                    writer.write(b"+PONG\r\n" * data.count(b"PING"))
        writer.close()


@contextlib.asynccontextmanager
async def connected(server: PingServer, path: Path, downs: list[float]) -> AsyncIterator[RedisConnection]:
    connection = RedisConnection(
        Address.from_url(f"unix://{path}"), on_down=lambda: downs.append(time.monotonic())
    )
    async with await asyncio.start_unix_server(server.serve, path):
        await connection.start()
        async with asyncio.timeout(PATIENCE_S):
            while not connection.is_up:
                await asyncio.sleep(0.01)
        yield connection
        await connection.stop()
        await asyncio.sleep(CHECK_S)  # the server closes its side


@pytest.mark.case("robustness.3")
async def test_a_stall_of_this_process_does_not_break_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_connection, "PING_INTERVAL_S", CHECK_S)
    server, downs = PingServer(), list[float]()
    async with connected(server, tmp_path / "redis", downs):
        for _ in range(3):
            time.sleep(CHECK_S * redis_connection.UNANSWERED_CHECKS * 3)  # noqa: ASYNC251 - the stall
            await asyncio.sleep(CHECK_S * 2)
        assert (downs, server.connection_count) == ([], 1)


@pytest.mark.case("robustness.3")
async def test_a_connection_whose_pings_stay_unanswered_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_connection, "PING_INTERVAL_S", CHECK_S)
    server, downs = PingServer(), list[float]()
    async with connected(server, tmp_path / "redis", downs) as connection:
        server.is_silent = True
        async with asyncio.timeout(PATIENCE_S):
            while not downs:
                await asyncio.sleep(CHECK_S)
        assert not connection.is_up
