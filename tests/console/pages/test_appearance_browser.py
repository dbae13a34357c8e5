"""Every page of the console: accessible in both themes, within a phone's width, without console errors."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections.abc import Sequence
from typing import Any

import pytest
from django.utils import timezone
from playwright.async_api import Page, ViewportSize, expect
from playwright.async_api import TimeoutError as TooSlowError

from inference_worker.registry.services import model_register
from tenants.files.creation import NewFile, file_store
from tenants.files.models import Purpose
from tests.browser import IN_BROWSER, THEMED_RULES, Theme, Visit, set_theme
from tests.console.harness.browsing import visit
from tests.console.harness.jobs import MODEL, checkpoint, evaluate, job_with_steps
from tests.gateway.harness.threads import in_thread
from tests.people import Cast
from training.datasets.tokens.sample_lines import pack_lines
from training.jobs.state import job_queue
from training.models import FineTuningJob, JobSampleLines

pytestmark = [pytest.mark.django_db(transaction=True), *IN_BROWSER]
CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
PHONE: ViewportSize = {"width": 375, "height": 800}
PAGES = (
    *("jobs/", "jobs/new/", "files/", "models/", "playground/", "usage/", "keys/", "audit/", "members/"),
    *("jobs/{job}/", "jobs/{job}/?tab=checkpoints&table=1", "compare/?jobs={job}"),
    *("jobs/{job}/receipt/", "jobs/{job}/steps/1/", "files/{file}/", "jobs/absent/"),
)


def _job(cast: Cast) -> FineTuningJob:
    new = NewFile(filename="chats.jsonl", purpose=Purpose.USER_DATA)
    file = file_store(tenant_id=cast.acme.id, content=io.BytesIO(b"{}"), new=new, actor="t")
    job = job_with_steps(cast.acme, 30, suffix="seen", training_file=file.id)
    evaluate(job, 20, 1.9, is_best=True)
    checkpoint(job, 20, 1.9, is_best=True)
    score = {"loss": 1.9, "perplexity": 6.7, "token_accuracy": 0.6}
    FineTuningJob.objects.filter(id=job.id).update(
        status="succeeded",
        finished_at=timezone.now(),
        resolved={"learning_rate": 1e-6, "n_epochs": 1, "batch_size": 1},
        result={"evaluated_on": "training", "base": score, "result": score},
    )
    JobSampleLines.objects.create(job=job, packed=pack_lines([1]))
    return job


async def _axe_faults_in_both_themes(one: Visit) -> list[str]:
    faults = []
    colours = []
    themes: tuple[tuple[Theme, Sequence[str]], ...] = (("light", ()), ("dark", THEMED_RULES))
    for theme, rules in themes:
        await set_theme(one.page, theme)
        colours.append(await one.page.evaluate("() => getComputedStyle(document.body).backgroundColor"))
        faults += await one.axe_faults(rules=rules)
    assert colours[0] != colours[1], "the theme has not changed"
    return faults


async def test_every_page_is_accessible_in_both_themes_and_fits_a_phone(site_server: int, cast: Cast) -> None:
    job = await in_thread(lambda: _job(cast))
    problems: list[Any] = []
    async with visit(site_server, cast.owner) as one:
        for path in PAGES:
            await one.open(f"/console/acme/{path.format(job=job.id, file=job.training_file)}")
            await one.settle()
            problems += [(path, each) for each in await _axe_faults_in_both_themes(one)]
            await one.page.set_viewport_size(PHONE)
            await asyncio.sleep(0.3)  # charts follow the size of their boxes a moment later
            problems += [(path, "too wide")] if await one.is_too_wide() else []
            await one.page.set_viewport_size({"width": 1366, "height": 900})
    async with visit(site_server, None) as one:
        for path in ("/", "/console/sign-in/"):
            await one.open(path)
            problems += [(path, each) for each in await _axe_faults_in_both_themes(one)]
    assert problems == []


async def test_a_change_of_theme_changes_the_charts_at_once_and_is_remembered(
    site_server: int, cast: Cast
) -> None:
    job = await in_thread(lambda: _job(cast))
    chart = "Chart.getChart(document.querySelector('[data-chart=loss] canvas'))"
    colours = f"() => [{chart}.options.scales.x.ticks.color, {chart}.data.datasets[0].borderColor]"
    async with visit(site_server, cast.member, color_scheme="light") as one:
        await one.open(f"/console/acme/jobs/{job.id}/")
        await one.page.wait_for_function(f"() => {chart}?.data.datasets.length")
        light = await one.page.evaluate(colours)
        await one.page.select_option("#theme", "dark")
        dark = await one.page.evaluate(colours)
        assert light[0] != dark[0]
        assert light[1] != dark[1]
        await one.page.reload()
        assert await one.page.get_attribute("html", "data-theme") == "dark"
        assert await one.page.input_value("#theme") == "dark"
        assert one.faults == []


async def test_the_keyboard_reaches_search_sections_rows_and_the_list_of_shortcuts(
    site_server: int, cast: Cast
) -> None:
    await in_thread(lambda: _job(cast))
    async with visit(site_server, cast.member) as one:
        page = one.page
        await one.open("/console/acme/files/")
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.className") == "skip"
        await page.keyboard.press("/")
        assert await page.evaluate("document.activeElement.id") == "q"
        await page.locator("#q").blur()
        await page.keyboard.press("?")
        await expect(page.locator("#shortcuts")).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(page.locator("#shortcuts")).to_be_hidden()
        for _ in range(5):  # a busy machine can be too slow for the second key
            await page.keyboard.press("g")
            await page.keyboard.press("j")
            with contextlib.suppress(TooSlowError):
                await page.wait_for_url("**/jobs/", timeout=5000)
                break
        await page.keyboard.press("j")
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/jobs/ftjob-*/")
        assert one.faults == []


async def _tab_to(page: Page, selector: str) -> None:
    """Move the focus with the Tab key alone."""
    for _ in range(80):
        await page.keyboard.press("Tab")
        if await page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"Tab doesn't reach {selector}")


async def test_a_job_is_created_watched_and_cancelled_by_keyboard_alone(site_server: int, cast: Cast) -> None:
    await in_thread(lambda: model_register(name=MODEL, actor="t", source=MODEL))
    new = NewFile(filename="support.jsonl", purpose=Purpose.FINE_TUNE)
    content = io.BytesIO((json.dumps({"messages": CHAT}) + "\n").encode() * 12)
    await in_thread(lambda: file_store(tenant_id=cast.acme.id, content=content, new=new, actor="t"))
    async with visit(site_server, cast.member) as one:
        page = await one.open("/console/acme/jobs/")
        await _tab_to(page, "a[href$='/jobs/new/']")
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/jobs/new/")
        await _tab_to(page, "#training_file")
        await page.keyboard.type("support")
        await _tab_to(page, "#suffix")
        await page.keyboard.type("by-keyboard")
        await _tab_to(page, "#submit")
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/jobs/ftjob-*/")
        badge = page.locator("#part-header .badge").first
        job = await in_thread(lambda: FineTuningJob.objects.get(suffix="by-keyboard"))
        await in_thread(lambda: job_queue(job_id=job.id, report={"examples": 12, "format": "chat"}))
        await expect(badge).to_have_text("queued")
        await _tab_to(page, "#open-cancel")
        await page.keyboard.press("Enter")
        await _tab_to(page, "#confirm-cancel")
        await page.keyboard.press("Enter")
        await expect(badge).to_have_text("cancelled")
        assert one.faults == []


async def test_the_language_changes_on_the_same_page(site_server: int, cast: Cast) -> None:
    async with visit(site_server, cast.member) as one:
        await one.open("/console/acme/jobs/?state=open")
        await one.page.select_option("#language", "zh-hans")
        await expect(one.page.locator("h1")).to_have_text("任务")
        assert one.page.url.endswith("/console/acme/jobs/?state=open")
        await one.page.evaluate("() => history.replaceState(null, '', '?state=ended')")  # as a page's script
        await one.page.set_viewport_size({"width": 375, "height": 800})  # where the bar has no room for it
        await one.page.click("#menu-button")
        await one.page.select_option("#sidebar-language", "en")
        await expect(one.page.locator("h1")).to_have_text("Jobs")
        assert one.page.url.endswith("/console/acme/jobs/?state=ended")
        assert one.faults == []
