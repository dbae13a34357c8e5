"""A job page that stays open for hours of events: its memory, and events lost or doubled at cut connections.

``python -m benchmarks.console.job_page --steps 3600``. Needs Chromium. Steps, evaluations and
checkpoints are recorded by the services of the training worker, compressed in time. The connection is cut
three times. Prints the page's heap after garbage collection, its points and its DOM nodes; ends with 1 if an
event was lost or doubled.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.console.site import running_servers, running_site
from tests.people import session_key

if TYPE_CHECKING:  # importable before Django is set up
    from playwright.async_api import CDPSession, Page, WebSocketRoute

    from training.models import FineTuningJob

BATCH = 10
CUTS = 3
CUT_S = 2.0
FIRST_STEPS = 60
LOSS_CHART = "Chart.getChart(document.querySelector('[data-chart=loss] canvas'))"
POINTS = f"{LOSS_CHART}?.data.datasets[0]?.data.length"


@dataclass(frozen=True)
class Sample:
    """Sizes of the page at a step. ``heap_bytes``: JavaScript objects that live after a collection."""

    step: int
    heap_bytes: int
    points: int
    nodes: int

    def line(self) -> str:
        """Return a row of the table."""
        return f"| {self.step} | {self.heap_bytes / 1e6:.2f} | {self.points} | {self.nodes} |"


class Connection:
    """The page's socket, through which every frame passes, and which can be cut."""

    def __init__(self) -> None:
        self.numbers: Counter[int] = Counter()
        self.connections = 0
        self._is_cut = False
        self._sockets: list[WebSocketRoute] = []

    async def route(self, socket: WebSocketRoute) -> None:
        """Connect the page's socket with the server, unless the connection is cut."""
        if self._is_cut:
            await socket.close(code=1011)
            return
        self.connections += 1
        self._sockets.append(socket)
        server = socket.connect_to_server()

        def receive(frame: str | bytes) -> None:
            if socket not in self._sockets:
                return  # cut: the page no longer hears this server
            self.numbers.update(event["number"] for event in json.loads(frame).get("events", []))
            socket.send(frame)

        server.on_message(receive)

    async def cut(self, seconds: float) -> None:
        """Close the socket and refuse new ones for a while."""
        self._is_cut = True
        while self._sockets:
            await self._sockets.pop().close(code=1011)
        await asyncio.sleep(seconds)
        self._is_cut = False


async def sample(page: Page, devtools: CDPSession, step: int) -> Sample:
    """Collect garbage and measure the page."""
    await devtools.send("HeapProfiler.collectGarbage")
    heap: dict[str, Any] = await devtools.send("Runtime.getHeapUsage")
    points = int(await page.evaluate(POINTS))
    nodes = int(await page.evaluate("document.getElementsByTagName('*').length"))
    return Sample(step, int(heap["usedSize"]), points, nodes)


def write(job: FineTuningJob, first: int, total: int) -> None:
    """Record a batch of steps and a log line."""
    from tests.console.harness.jobs import checkpoint, evaluate, write_steps

    last = min(total, first + BATCH - 1)
    write_steps(job, first, last, total=total + 1)
    if last % (10 * BATCH) == 0:
        evaluate(job, last, 2.0 + 1 / last, is_best=True)
        checkpoint(job, last, 2.0 + 1 / last, is_best=True)


async def follow(page: Page, connection: Connection, job: FineTuningJob, total: int) -> list[Sample]:
    """Write all steps while the page is open, cut its connection, and measure it at every tenth of them."""
    devtools = await page.context.new_cdp_session(page)
    await devtools.send("HeapProfiler.enable")
    samples = [await sample(page, devtools, FIRST_STEPS)]
    print("| step | heap MB | points of the loss chart | DOM nodes |\n|---|---|---|---|")
    print(samples[0].line(), flush=True)
    tenth = max(BATCH, (total - FIRST_STEPS) // 10 // BATCH * BATCH)
    cuts = [total * (number + 1) // (CUTS + 1) // BATCH * BATCH for number in range(CUTS)]
    cutting: list[asyncio.Task[None]] = []
    for first in range(FIRST_STEPS + 1, total + 1, BATCH):
        await asyncio.to_thread(write, job, first, total)
        last = min(total, first + BATCH - 1)
        if last in cuts:
            cutting.append(asyncio.create_task(connection.cut(CUT_S)))
        if (last - FIRST_STEPS) % tenth == 0 or last == total:
            await asyncio.gather(*cutting)
            await _wait_for_step(page, last)
            samples.append(await sample(page, devtools, last))
            print(samples[-1].line(), flush=True)
    return samples


async def _wait_for_step(page: Page, step: int) -> None:
    script = "step => document.getElementById('live-step').textContent.replaceAll(',', '') === String(step)"
    await page.wait_for_function(script, arg=step, timeout=60_000)
    await page.wait_for_timeout(1000)  # longer than drawings are put off


def _chromium_path() -> str:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        sys.exit("chromium is not installed (apt-get install chromium)")
    return path


async def watch(address: str, cookie: str, job: FineTuningJob, total: int) -> Connection:
    """Open the page of the job in Chromium, and follow it to the end."""
    from playwright.async_api import async_playwright

    connection = Connection()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=_chromium_path(), args=["--no-sandbox", "--disable-gpu"]
        )
        context = await browser.new_context(viewport={"width": 1440, "height": 900})
        await context.add_cookies([{"name": "sessionid", "value": cookie, "url": address}])
        page = await context.new_page()
        await page.route_web_socket("**/console/ws/**", connection.route)
        await page.goto(f"{address}/console/acme/jobs/{job.id}/")
        await page.wait_for_function(f"() => window.Chart && {POINTS} > 0")
        samples = await follow(page, connection, job, total)
        await browser.close()
    for quarter in range(4):
        heap_sizes = [each.heap_bytes for each in samples if _quarter(each.step, total) == quarter]
        print(f"heap in quarter {quarter + 1}: {min(heap_sizes) / 1e6:.2f} to {max(heap_sizes) / 1e6:.2f} MB")
    return connection


def _quarter(step: int, total: int) -> int:
    return min(3, 4 * step // total)


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--steps", type=int, default=3600, help="an hour of steps of one second")
    options = parser.parse_args()
    os.environ["CYLLM_TRAINING_LEASE_S"] = "86400"  # nobody renews the lease of this job
    with running_servers() as servers:
        from django.contrib.auth.models import User

        from tenants.members.services import membership_set
        from tenants.services import tenant_create
        from tests.console.harness.jobs import job_with_steps

        tenant = tenant_create(slug="acme", name="Acme", actor="benchmark")
        member = User.objects.create_user("member")
        membership_set(tenant=tenant, user=member, role="member", actor="benchmark")
        job = job_with_steps(tenant, FIRST_STEPS, total=options.steps + 1)
        head = job.next_event - 1
        with running_site(servers) as address:
            connection = asyncio.run(watch(address, session_key(member), job, options.steps))
        job.refresh_from_db()
        numbers = range(head + 1, job.next_event)
        gaps = [number for number in numbers if not connection.numbers[number]]
        duplicates = [number for number, count in connection.numbers.items() if count > 1]
        print(f"{len(numbers)} events over {connection.connections} connections")
        print(f"{len(gaps)} lost, {len(duplicates)} doubled")
    return 1 if gaps or duplicates else 0


if __name__ == "__main__":
    sys.exit(main())
