"""The effect of one tenant's abuse on another tenant: ``python -m tests.chaos.abuse [TEXT …]``.

Starts a stack in front of a scripted engine. Under each abuse, or those whose names contain a text, it
measures ``/health/live`` and the chats of another tenant, and the gateway's memory a minute later. Exits
with 1 if a bound is exceeded.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import psutil

from benchmarks.tenants import create_tenant
from tests.chaos.abuses import ABUSES, CHAT, client, running_abuse
from tests.chaos.trial import scripted_stack
from tests.stack.sse import chat
from tests.stacks import RunningStack

ABUSE_S = 20.0
START_S = 3.0  # of the abusing process
CALM_S = 60.0
MAX_LIVE_S = 1.0
MAX_SLOWDOWN = 3.0
MAX_MEMORY = 1.2


@dataclass
class Probe:
    """Response times of another tenant in seconds, and the statuses of its chats that failed."""

    live_s: list[float] = field(default_factory=list)
    chat_s: list[float] = field(default_factory=list)
    failure_statuses: list[int] = field(default_factory=list)

    def line(self) -> str:
        """Return the figures as text."""
        chats = sorted(self.chat_s)
        return (
            f"live max {max(self.live_s):.3f} s, chat median {statistics.median(chats):.3f} s, "
            f"p95 {chats[int(len(chats) * 0.95)]:.3f} s, {len(chats)} chats, failures {self.failure_statuses}"
        )


async def measure(stack: RunningStack, key: str) -> Probe:
    """Chat as another tenant and ask for the gateway's liveness, for some time."""
    probe, deadline = Probe(), time.monotonic() + ABUSE_S
    async with client(stack.base_url, key) as http, client(stack.base_url, key) as live:

        async def ask_liveness() -> None:
            while time.monotonic() < deadline:
                start = time.monotonic()
                await live.get("/health/live")
                probe.live_s.append(time.monotonic() - start)
                await asyncio.sleep(0.05)

        async def chat_repeatedly() -> None:
            body = chat(stack.model, "pieces=2 gap=0.01")
            while time.monotonic() < deadline:
                start = time.monotonic()
                response = await http.post(CHAT, json=body)
                probe.chat_s.append(time.monotonic() - start)
                if response.status_code != 200:
                    probe.failure_statuses.append(response.status_code)
                await asyncio.sleep(0.05)

        await asyncio.gather(ask_liveness(), chat_repeatedly())
    return probe


def under_abuse(stack: RunningStack, name: str, key: str) -> tuple[Probe, int]:
    """Measure another tenant and the gateway's memory in MB while one tenant abuses the gateway."""
    with running_abuse(name, stack.base_url, key, stack.model):
        time.sleep(START_S)
        return asyncio.run(measure(stack, stack.key)), _memory(stack)


def main(texts: Sequence[str]) -> int:
    """Run the command."""
    faults = []
    with scripted_stack() as stack:
        key = create_tenant(stack, "abuser")
        alone = asyncio.run(measure(stack, stack.key))
        print(f"alone: {alone.line()}", flush=True)
        for name in ABUSES:
            if texts and not any(text in name for text in texts):
                continue
            before = _memory(stack)
            probe, peak = under_abuse(stack, name, key)
            time.sleep(CALM_S)
            after = _memory(stack)
            print(f"{name}: {probe.line()}; memory {before} -> {peak} -> {after} MB", flush=True)
            faults += [f"{name}: {fault}" for fault in _faults(alone, probe, before, after)]
    print("\n".join(faults) or "all bounds are kept")
    return 1 if faults else 0


def _faults(alone: Probe, probe: Probe, before: int, after: int) -> list[str]:
    slowdown = statistics.median(probe.chat_s) / statistics.median(alone.chat_s)
    faults = []
    if max(probe.live_s) > MAX_LIVE_S:
        faults.append(f"liveness took {max(probe.live_s):.2f} s")
    if slowdown > MAX_SLOWDOWN:
        faults.append(f"the other tenant's chats took {slowdown:.1f} times as long")
    if probe.failure_statuses:
        faults.append(f"{len(probe.failure_statuses)} chats of the other tenant failed")
    if after > before * MAX_MEMORY:
        faults.append(f"memory grew from {before} to {after} MB")
    return faults


def _memory(stack: RunningStack) -> int:
    """Return the gateway's resident memory in MB."""
    return int(psutil.Process(stack.pid("gateway")).memory_info().rss) // 1_000_000


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
