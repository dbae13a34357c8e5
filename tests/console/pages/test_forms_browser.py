"""Values typed into forms: they survive a change of the language, and are sent once."""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.async_api import Route, expect

from inference_worker.registry.services import model_register
from tests.browser import IN_BROWSER
from tests.console.harness.browsing import visit
from tests.console.harness.jobs import job_with_steps
from tests.gateway.harness.threads import in_thread
from tests.people import Cast
from training.models import FineTuningJob

pytestmark = [pytest.mark.django_db(transaction=True), *IN_BROWSER]


@pytest.mark.criterion("2.8")
async def test_typed_values_survive_a_change_of_the_language(site_server: int, cast: Cast) -> None:
    await in_thread(lambda: model_register(name="tiny", actor="t"))
    long_prompt = "A long question. " * 200
    inputs = {
        "prompt": long_prompt,
        "system": "Be kind.",
        "temperature": "0.2",
        "max_tokens": "",
        "seed": "7",
    }
    async with visit(site_server, cast.member) as one:
        page = await one.open("/console/acme/playground/?a=tiny")
        await page.click("#playground summary")
        for name, value in inputs.items():
            await page.fill(f"#{name}", value)
        await page.press("#seed", "Tab")
        await page.select_option("#language", "zh-hans")
        await expect(page.locator("h1")).to_have_text("试验场")
        assert {name: await page.input_value(f"#{name}") for name in inputs} == inputs
        await expect(page.locator("#temperature")).to_be_visible()
        query = parse_qs(urlsplit(page.url).query, keep_blank_values=True)
        assert query == {
            "a": ["tiny"],
            "s": ["Be kind."],
            "temperature": ["0.2"],
            "max_tokens": [""],
            "seed": ["7"],
        }
        assert await page.evaluate("sessionStorage.length") == 0

        await one.open("/console/acme/jobs/new/")
        await page.fill("#suffix", "mine")
        await page.fill("#n_epochs", "2")
        await page.select_option("#method", "dpo")
        await page.select_option("#language", "en")
        await expect(page.locator("h1")).to_have_text("New job")
        values = [await page.input_value(f"#{name}") for name in ("suffix", "n_epochs", "method")]
        assert values == ["mine", "2", "dpo"]
        await expect(page.locator("#beta")).to_be_hidden()  # in the settings that are folded
        await page.click("summary:has-text('Advanced')")
        await expect(page.locator("#beta")).to_be_visible()
        assert one.faults == []


async def test_a_form_that_is_sent_twice_has_its_effect_once(site_server: int, cast: Cast) -> None:
    job = await in_thread(lambda: job_with_steps(cast.acme, 0, runs=False))
    posts = []

    async def slow(route: Route) -> None:
        if route.request.method == "POST":
            posts.append(route.request.url)
            await asyncio.sleep(0.5)
        await route.continue_()

    async with visit(site_server, cast.member) as one:
        page = await one.open(f"/console/acme/jobs/{job.id}/")
        await page.route("**/cancel/", slow)
        await page.click("#open-cancel")
        await page.locator("#confirm-cancel").dblclick(no_wait_after=True)
        await expect(page.locator("#part-header .badge")).to_have_text("cancelled")
        assert len(posts) == 1
    assert await in_thread(lambda: FineTuningJob.objects.get(id=job.id).status) == "cancelled"
