"""The pace of large bodies: shares of time, and bursts that don't wait."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from unittest import mock

import pytest

from api.gateway.capacity.pace import BURST_S, TENANT_SHARE, TOTAL_SHARE, Pace

pytestmark = pytest.mark.case("robustness.1")


class Clock:
    """A clock that advances when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> Iterator[Clock]:
    clock = Clock()
    with (
        mock.patch("api.gateway.capacity.pace.time", mock.Mock(monotonic=clock.monotonic)),
        mock.patch("api.gateway.capacity.pace.asyncio", mock.Mock(sleep=clock.sleep)),
    ):
        yield clock


async def _work(pace: Pace, clock: Clock, tenants: list[str], steps: int, step_s: float) -> None:
    for _ in range(steps):
        for tenant in tenants:
            pace.charge(tenant, step_s)
            clock.now += step_s
            await pace.wait(tenant)


async def test_a_tenant_takes_its_share_of_the_time(clock: Clock) -> None:
    start = clock.now
    await _work(Pace(), clock, ["acme"], steps=1000, step_s=0.001)
    assert clock.now - start == pytest.approx(1.0 / TENANT_SHARE - BURST_S, rel=0.01)


async def test_tenants_take_the_total_share_together(clock: Clock) -> None:
    start, tenants = clock.now, [f"tenant-{number}" for number in range(8)]
    await _work(Pace(), clock, tenants, steps=500, step_s=0.001)
    assert clock.now - start == pytest.approx(4.0 / TOTAL_SHARE, rel=0.05)


async def test_a_single_large_body_does_not_wait_and_debts_are_forgotten(clock: Clock) -> None:
    pace, start = Pace(), clock.now
    pace.charge("acme", BURST_S * TENANT_SHARE)
    await pace.wait("acme")
    assert clock.now == start
    pace.charge("acme", 1.0)
    await pace.wait("globex")
    assert clock.now == start, "a tenant waits for its own work only"
    clock.now += 10
    pace.charge("globex", 0.001)
    assert list(pace._clocks) == ["globex"]
