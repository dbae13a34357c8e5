"""The page of a job in a real browser: live, after losses, resumes and numbers that aren't finite."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import Any

import pytest
from playwright.async_api import Page, WebSocketRoute, expect

from tests.browser import IN_BROWSER, Visit
from tests.console.harness.browsing import visit
from tests.console.harness.jobs import (
    checkpoint,
    evaluate,
    job_with_steps,
    running_token,
    start_attempt,
    write_steps,
)
from tests.gateway.harness.threads import in_thread
from tests.people import Cast
from training.jobs.failures import Failure
from training.models import FineTuningJob
from training.queue.endings import attempt_fail

pytestmark = [pytest.mark.django_db(transaction=True), *IN_BROWSER]


async def _table_steps(page: Page) -> list[int]:
    rows = "#points tbody tr[data-train='1']"
    return [
        int(step) for step in await page.eval_on_selector_all(rows, "rows => rows.map(r => r.dataset.step)")
    ]


async def _cells(page: Page, step: int, *, superseded_steps: bool = False) -> list[str]:
    """Return the cells of a step: loss, smoothed, validation, rate, norm, speed, time, note."""
    kind = ".superseded" if superseded_steps else ":not(.superseded)"
    row = f"#points tbody tr[data-step='{step}'][data-train='1']{kind}"
    cells: list[str] = await page.eval_on_selector(
        row, "r => [...r.querySelectorAll('td')].map(c => c.textContent)"
    )
    return cells


async def _wait_for_steps(page: Page, count: int) -> None:
    await page.wait_for_function(
        "count => document.querySelectorAll(\"#points tbody tr[data-train='1']\").length >= count", arg=count
    )


def _path(job: FineTuningJob, query: str = "") -> str:
    return f"/console/acme/jobs/{job.id}/{query}"


async def _range(one: Visit) -> list[str]:
    ranges: list[str] = await one.page.eval_on_selector(
        "[data-chart=loss]", "figure => [figure.dataset.min, figure.dataset.max]"
    )
    return ranges


async def test_a_late_visitor_sees_every_step_once_and_in_order(site_server: int, cast: Cast) -> None:
    job = await in_thread(lambda: job_with_steps(cast.acme, 60))
    async with visit(site_server, cast.member) as one:
        await one.open(_path(job, "?table=1"))
        await _wait_for_steps(one.page, 60)
        await in_thread(lambda: write_steps(job, 61, 80))
        await _wait_for_steps(one.page, 80)
        assert await _table_steps(one.page) == list(range(1, 81))
        await expect(one.page.locator("#live-step")).to_have_text("80")
        assert one.faults == []


async def test_events_and_a_reload_keep_the_view(site_server: int, cast: Cast) -> None:
    job = await in_thread(lambda: job_with_steps(cast.acme, 100))
    async with visit(site_server, cast.member) as one:
        page = one.page
        await one.open(_path(job))
        await page.select_option("#axis", "tokens")
        await page.fill("#smoothing", "0.6")
        await page.check("#log-scale")
        box = await page.locator("[data-chart=loss] canvas").bounding_box()
        assert box is not None
        await page.mouse.move(box["x"] + 200, box["y"] + 100)
        await page.mouse.down()
        await page.mouse.move(box["x"] + 420, box["y"] + 100, steps=4)
        await page.mouse.up()
        await expect(page.locator("#reset-zoom")).to_be_visible()
        await page.wait_for_function("() => document.querySelector('[data-chart=loss]').dataset.min > 1000")
        zoom_range = await _range(one)
        await in_thread(lambda: write_steps(job, 101, 110))
        await expect(page.locator("#live-step")).to_have_text("110")
        await asyncio.sleep(0.6)  # longer than drawings are put off
        assert await _range(one) == zoom_range
        await page.reload()
        await page.wait_for_function("() => document.querySelector('[data-chart=loss]').dataset.min > 1000")
        assert await _range(one) == zoom_range
        assert await page.input_value("#axis") == "tokens"
        assert await page.input_value("#smoothing") == "0.6"
        assert await page.is_checked("#log-scale")
        await page.click("#reset-zoom")
        await page.wait_for_function(
            "() => document.querySelector('[data-chart=loss]').dataset.max >= 110000"
        )
        assert one.faults == []


async def test_a_lost_connection_is_announced_and_loses_no_step(site_server: int, cast: Cast) -> None:
    job = await in_thread(lambda: job_with_steps(cast.acme, 20))
    sockets: list[WebSocketRoute] = []
    is_blocked = False

    async def route(socket: WebSocketRoute) -> None:
        if is_blocked:
            await socket.close(code=1011)
        else:
            socket.connect_to_server()
            sockets.append(socket)

    async with visit(site_server, cast.member) as one:
        page = one.page
        await page.route_web_socket("**/console/ws/**", route)
        await one.open(_path(job, "?table=1"))
        await _wait_for_steps(page, 20)
        for last in (30, 40, 50):  # three losses
            while not sockets:
                await asyncio.sleep(0.05)
            is_blocked = True
            await sockets.pop().close(code=1011)
            status = page.locator("#connection[role=status]")
            await expect(status).to_contain_text("Trying again")
            await expect(status).to_contain_text("s old")
            await in_thread(partial(write_steps, job, last - 9, last))
            is_blocked = False
            await _wait_for_steps(page, last)
            await expect(status).to_be_hidden()
        assert await _table_steps(page) == list(range(1, 51))

        await page.route("**/?part=live", lambda request: request.abort())
        await in_thread(lambda: checkpoint(job, 50))
        await expect(status).to_have_text("New data could not be loaded. Trying again.")
        await page.unroute("**/?part=live")
        await expect(page.locator("#part-checkpoints tbody tr")).to_have_count(1)
        await expect(status).to_be_hidden()


LOSS_CHART = "Chart.getChart(document.querySelector('[data-chart=loss] canvas'))"
LOSS_POINTS = f"{LOSS_CHART}?.data.datasets[0]?.data.length"


async def _heap_bytes(one: Visit) -> int:
    """Return the size of the objects that live in the page."""
    devtools = await one.context.new_cdp_session(one.page)
    await devtools.send("HeapProfiler.collectGarbage")
    usage = await devtools.send("Runtime.getHeapUsage")
    await devtools.detach()
    return int(usage["usedSize"])


async def _bands(one: Visit) -> list[list[float]]:
    """Return the minima and the maxima of the buckets of the loss chart."""
    bands: list[list[float]] = await one.page.evaluate(
        f"['min', 'max'].map(label => {LOSS_CHART}.data.datasets.find(each => each.label === label)"
        ".data.map(point => point.y))"
    )
    return bands


async def test_a_page_that_stays_open_joins_points_and_stops_growing(site_server: int, cast: Cast) -> None:
    job = await in_thread(lambda: job_with_steps(cast.acme, 100, total=4000))
    heap_bytes = []
    async with visit(site_server, cast.member) as one:
        page = one.page
        await one.open(_path(job))
        await page.wait_for_function(f"() => {LOSS_POINTS} === 100")
        for last, size in ((1800, 2), (3600, 4)):  # of each bucket, so that there are never more than 1,000
            await in_thread(partial(write_steps, job, job.step + 1, last, total=4000))
            await expect(page.locator("#live-step")).to_have_text(f"{last:,}", timeout=120_000)
            await page.wait_for_function(f"() => {LOSS_POINTS} === 900")
            await expect(page.locator("#bucket-note")).to_contain_text(f"summarises {size} steps")
            heap_bytes.append(await _heap_bytes(one))
        assert heap_bytes[1] - heap_bytes[0] < 1_000_000
        minima, maxima = await _bands(one)
        series = await _series(one, job, "?from=1&to=800")
        raw = series["train"]["loss"]
        assert minima[:200] == [min(raw[start : start + 4]) for start in range(0, 800, 4)]
        assert maxima[:200] == [max(raw[start : start + 4]) for start in range(0, 800, 4)]
        assert one.faults == []


async def test_a_second_visit_says_what_has_happened_since_the_first(site_server: int, cast: Cast) -> None:
    job = await in_thread(lambda: job_with_steps(cast.acme, 20))
    async with visit(site_server, cast.member) as one:
        page = one.page
        await one.open(_path(job))
        await page.wait_for_function(f"() => {LOSS_POINTS} === 20")
        await expect(page.locator("#since")).to_be_hidden()  # nobody has looked before
        await in_thread(lambda: write_steps(job, 21, 30))
        await expect(page.locator("#live-step")).to_have_text("30")  # seen live, so it counts as seen
        await one.open("/console/acme/jobs/")
        await in_thread(lambda: write_steps(job, 31, 75))
        await in_thread(lambda: evaluate(job, 70, 1.25, is_best=True))
        await one.open(_path(job))
        since = page.locator("#since")
        await expect(since).to_have_text("Since your last visit: 45 more steps · best validation loss 1.25")
        await page.reload()
        await page.wait_for_function(f"() => {LOSS_POINTS} === 75")
        await expect(since).to_be_hidden()
        assert one.faults == []


async def test_a_resume_breaks_the_line_and_supersedes_the_steps_behind_the_checkpoint(
    site_server: int, cast: Cast
) -> None:
    job = await in_thread(lambda: job_with_steps(cast.acme, 40, total=60))

    def lose_worker() -> None:
        failure = Failure(code="worker_lost", message="The worker was lost.", is_transient=True)
        attempt_fail(running_token(job), failure)
        start_attempt(job, 30, 60)
        write_steps(job, 31, 60, total=60, elapsed_from=30)

    async with visit(site_server, cast.member) as one:
        page = one.page
        await one.open(_path(job, "?table=1"))
        await _wait_for_steps(page, 40)
        await in_thread(lose_worker)
        await _wait_for_steps(page, 70)
        await expect(page.locator("#points tr.superseded")).to_have_count(10)
        superseded_steps = await page.eval_on_selector_all(
            "#points tr.superseded", "rows => rows.map(r => Number(r.dataset.step))"
        )
        assert superseded_steps == list(range(31, 41))
        assert "resumed after step 30" in (await _cells(page, 31))[7]
        # 60 s of the first attempt until step 30, and 2 s per step; the wait between them doesn't count.
        assert (await _cells(page, 40))[6] == "80"
        await expect(page.locator("#live-percent")).to_have_text("99")
        await page.uncheck("#as-table")
        gaps = await page.evaluate(
            "Chart.getChart(document.querySelector('[data-chart=loss] canvas'))"
            ".data.datasets[0].data.filter(point => Number.isNaN(point.y)).length"
        )
        assert gaps == 1
        assert one.faults == []


async def test_numbers_that_are_not_finite_are_marked(site_server: int, cast: Cast) -> None:
    job = await in_thread(lambda: job_with_steps(cast.acme, 30))
    await in_thread(lambda: write_steps(job, 31, 31, loss=float("nan")))
    await in_thread(lambda: write_steps(job, 32, 40))
    async with visit(site_server, cast.member) as one:
        page = one.page
        await one.open(_path(job, "?log=1"))
        await expect(page.locator("#bad-points")).to_have_text("Not finite (NaN): 1, at step 31")
        chart = "Chart.getChart(document.querySelector('[data-chart=loss] canvas'))"
        marks = await page.evaluate(
            f"{chart}.data.datasets.find(each => each.label === 'NaN').data.map(d => d.x)"
        )
        assert marks == [31]
        lowest = await page.evaluate(
            f"Math.min(...{chart}.data.datasets[0].data.map(d => d.y).filter(Number.isFinite))"
        )
        assert await page.evaluate(f"{chart}.scales.y.min") > lowest / 10 > 0
        await page.check("#as-table")
        assert (await _cells(page, 31))[0] == "NaN"
        failure = Failure(
            code="loss_not_finite",
            message="The loss is not a finite number.",
            next_step="Lower the learning rate, and create a new job.",
        )
        await in_thread(lambda: attempt_fail(running_token(job), failure))
        header = page.locator("#part-header")
        await expect(header).to_contain_text("loss_not_finite")
        await expect(header).to_contain_text("Lower the learning rate")
        await expect(page.locator("#announcements")).to_have_text("failed")
        assert one.faults == []


async def test_smoothing_leaves_constants_and_raw_points_alone(site_server: int, cast: Cast) -> None:
    job = await in_thread(lambda: job_with_steps(cast.acme, 120))
    async with visit(site_server, cast.member) as one:
        page = one.page
        await one.open(_path(job, "?from=90&to=110&table=1"))
        await _wait_for_steps(page, 21)
        raw = [await _cells(page, step) for step in (90, 100)]
        await page.fill("#smoothing", "0.9")
        await page.wait_for_function(
            "old => document.querySelectorAll('#points tr[data-step=\"100\"] td')[1].textContent !== old",
            arg=raw[1][1],
        )
        smooth = [await _cells(page, step) for step in (90, 100)]
        assert [cells[0] for cells in smooth] == [cells[0] for cells in raw]
        assert {cells[3] for cells in smooth} == {"2e-4"} == {cells[3] for cells in raw}
        assert _steps_of(await _table_steps(page)) == (90, 110)
        assert one.faults == []


def _steps_of(steps: list[int]) -> tuple[int, int]:
    return steps[0], steps[-1]


async def test_a_point_of_a_chart_opens_the_samples_of_its_step(site_server: int, cast: Cast) -> None:
    job = await in_thread(lambda: job_with_steps(cast.acme, 0))
    await in_thread(lambda: write_steps(job, 1, 40, gpu_utilization=None, gpu_memory_bytes=None))
    async with visit(site_server, cast.member) as one:
        page = one.page
        await one.open(_path(job))
        await page.wait_for_function(f"() => {LOSS_POINTS} === 40")
        await expect(page.locator("[data-chart=gpu]")).to_contain_text("trains without a GPU")
        await expect(page.locator("[data-chart=gpu] canvas")).to_be_hidden()
        canvas = page.locator("[data-chart=loss] canvas")
        await canvas.focus()
        await canvas.press("End")
        await expect(page.locator("#to-samples")).to_have_text("Samples of step 40")
        await canvas.press("Enter")
        await page.wait_for_url("**/steps/40/")
        await expect(page.locator("h1")).to_have_text("Samples of step 40")
        await page.click("[rel=prev]")
        await page.wait_for_url("**/steps/39/")
        await one.open(_path(job))
        await page.wait_for_function(f"() => {LOSS_POINTS} === 40")
        pixel = await canvas.evaluate("canvas => Chart.getChart(canvas).scales.x.getPixelForValue(20)")
        await canvas.click(position={"x": pixel, "y": 80})
        await page.wait_for_url("**/steps/20/")
        await one.open(_path(job, "?table=1"))
        await page.click("#points tr[data-step='7'] a")
        await page.wait_for_url("**/steps/7/")
        assert one.faults == []


async def test_one_crosshair_names_the_logged_step_on_every_chart(site_server: int, cast: Cast) -> None:
    job = await in_thread(lambda: job_with_steps(cast.acme, 60))
    await in_thread(lambda: evaluate(job, 40, 1.5, is_best=True))
    async with visit(site_server, cast.member) as one:
        page = one.page
        await one.open(_path(job))
        await page.wait_for_function("() => document.querySelector('[data-chart=loss]').dataset.max")
        canvas = page.locator("[data-chart=loss] canvas")
        pixel = await canvas.evaluate("canvas => Chart.getChart(canvas).scales.x.getPixelForValue(40)")
        await canvas.hover(position={"x": pixel, "y": 80})
        legends = page.locator("#charts [data-legend]")
        await expect(legends.first).to_contain_text("step 40:")
        assert all("step 40:" in text for text in await legends.all_inner_texts())
        await canvas.focus()
        await canvas.press("ArrowRight")
        series = await _series(one, job)
        loss = series["train"]["loss"][40]
        await expect(legends.first).to_contain_text(f"step 41: {loss:.4g}")
        assert all("step 41:" in text for text in await legends.all_inner_texts())
        await canvas.press("ArrowLeft")
        await expect(page.locator("#readout")).to_contain_text("validation 1.5")
        end = await canvas.evaluate("canvas => Chart.getChart(canvas).scales.x.getPixelForValue(60)")
        await page.evaluate(
            "Chart.getChart(document.querySelector('[data-chart=loss] canvas')).options.scales.x.max = 200"
        )
        await page.evaluate(
            "Chart.getChart(document.querySelector('[data-chart=loss] canvas')).update('none')"
        )
        await canvas.hover(position={"x": end - 60, "y": 80})
        await expect(page.locator("#readout")).to_have_text("no data")
        assert one.faults == []


async def _series(one: Visit, job: FineTuningJob, query: str = "") -> dict[str, Any]:
    response = await one.context.request.get(f"{one.address}{_path(job)}series/{query}")
    series: dict[str, Any] = json.loads(await response.text())
    return series


async def test_a_job_is_paused_resumed_and_cancelled_by_keyboard(site_server: int, cast: Cast) -> None:
    job = await in_thread(lambda: job_with_steps(cast.acme, 5, runs=False))
    async with visit(site_server, cast.member) as one:
        page = one.page
        await one.open(_path(job))
        await page.locator("#do-pause").press("Enter")
        await expect(page.locator("#part-header .badge")).to_have_text("paused")
        await page.locator("#do-resume").press("Enter")
        await expect(page.locator("#part-header .badge")).to_have_text("queued")
        await page.locator("#open-cancel").press("Enter")
        await page.locator("#confirm-cancel").press("Enter")
        await expect(page.locator("#part-header .badge")).to_have_text("cancelled")
        assert one.faults == []
    actors = await in_thread(lambda: _audit(job))
    assert actors == [
        ("job.pause", "user:member"),
        ("job.resume", "user:member"),
        ("job.cancel", "user:member"),
    ]


def _audit(job: FineTuningJob) -> list[tuple[str, str]]:
    from tenants.models import AdminAudit

    rows = AdminAudit.objects.filter(object_id=job.id).exclude(action="job.create").order_by("id")
    return list(rows.values_list("action", "actor"))
