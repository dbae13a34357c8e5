"""Models, playground, keys and usage in a real browser, with a real worker in front of a scripted engine."""

from __future__ import annotations

import csv
import datetime as dt
import io
import re
import uuid
from collections.abc import AsyncIterator
from urllib.parse import quote
from zoneinfo import ZoneInfo

import httpx
import pytest
import pytest_asyncio
import redis
from playwright.async_api import Browser, Page, expect

from inference_worker.protocol import names
from inference_worker.protocol.messages import RequestEnded
from inference_worker.registry import services as registry
from tenants.keys.secrets import split_key
from tenants.models import ApiKey, UsageRecord
from tenants.services import tenant_update
from tests.browser import IN_BROWSER, Visit, open_browser
from tests.console.harness.browsing import WIDTHS, visit_as
from tests.console.harness.tuned_models import MODEL, chat_line, tuned_model
from tests.console.harness.workers import worker
from tests.faults.engines import faulty_engine
from tests.gateway.harness.conditions import eventually
from tests.gateway.harness.records import facts_of
from tests.gateway.harness.threads import in_thread
from tests.people import Cast
from tests.usage.records import usage_at

pytestmark = [pytest.mark.django_db(transaction=True), *IN_BROWSER]


@pytest_asyncio.fixture(loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """The tests' Chromium."""
    async with open_browser() as browser:
        yield browser


@pytest.fixture
def tiny(cast: Cast, redis_client: redis.Redis) -> None:
    """The model of the worker, with prices."""
    registry.model_register(name="tiny", actor="t", prompt_price=1_000_000, completion_price=10_000_000)


async def _models(visit: Visit, secret: str) -> tuple[int, str | None]:
    async with httpx.AsyncClient(base_url=visit.address) as client:
        response = await client.get("/v1/models", headers={"authorization": f"Bearer {secret}"})
    return response.status_code, response.json().get("error", {}).get("code")


async def _secret(page: Page) -> str:
    """Copy the secret of the open dialog, check the clipboard, and close the dialog."""
    await expect(page.locator("#secret")).to_contain_text("sk-cy-")
    secret = await page.inner_text("#secret")
    await page.click("#copy-secret")
    await expect(page.locator("#copy-secret")).to_contain_text("✓")
    assert await page.evaluate("navigator.clipboard.readText()") == secret
    await page.click("#secret-dialog >> text=Done")
    return secret


@pytest.mark.criterion("6.1")
async def test_a_key_is_shown_once_listed_at_once_rotated_with_a_countdown_and_revoked(
    browser: Browser, cast: Cast, redis_client: redis.Redis, site_server: int
) -> None:
    visit = await visit_as(browser, site_server, cast.member)
    page = await visit.open("/console/acme/keys/")
    await page.click("text=New key")
    await page.fill("#new-name", "laptop")
    await page.click("#new-dialog >> text=Create")
    old = await _secret(page)
    row = page.locator(f"[data-key='{split_key(old)}']")
    await expect(row).to_contain_text("laptop")
    assert await _models(visit, old) == (200, None)
    await page.reload()
    content = await page.content()
    assert str(split_key(old)) in content
    assert old[20:] not in content

    await row.locator("text=Rotate…").click()
    await page.select_option("#rotate-grace_s", "3600")
    await page.click("#rotate-dialog button:has-text('Rotate')")
    new = await _secret(page)
    await expect(row.locator("[data-countdown]")).to_have_text(re.compile(r"00:59:\d\d"))
    assert (await _models(visit, old), await _models(visit, new)) == ((200, None), (200, None))

    await row.locator("text=Revoke…").click()
    await page.click("#revoke-dialog button:has-text('Revoke')")
    await expect(row).to_contain_text("revoked")
    assert await _models(visit, old) == (401, "key_revoked")
    assert visit.faults == []


async def test_a_bad_network_is_named_beside_its_field_and_the_other_values_stay(
    browser: Browser, cast: Cast, redis_client: redis.Redis, site_server: int
) -> None:
    visit = await visit_as(browser, site_server, cast.owner)
    page = await visit.open("/console/acme/keys/")
    await page.click("text=New key")
    await page.fill("#new-name", "laptop")
    await page.click("#new-dialog summary")
    await page.fill("#new-allowed_networks", "192.0.2.1/24")
    await page.click("#new-dialog >> text=Create")
    await expect(page.locator("[data-error=allowed_networks]")).to_contain_text("192.0.2.0/24")
    assert await page.input_value("#new-name") == "laptop"
    assert await in_thread(lambda: ApiKey.objects.filter(name="laptop").count()) == 0


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "America/Los_Angeles"])
@pytest.mark.criterion("6.3")
async def test_days_of_the_browsers_zone_sum_to_range_csv_and_ledger_even_over_budget(
    browser: Browser, cast: Cast, redis_client: redis.Redis, site_server: int, zone: str
) -> None:
    today = dt.datetime.now(ZoneInfo(zone)).replace(hour=0, minute=0, second=0, microsecond=0)
    midnight = dt.datetime.now(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    moments = [
        start - dt.timedelta(days=days, seconds=second)
        for start in (today, midnight)
        for days in (2, 4)
        for second in (0, 1)
    ]
    await in_thread(lambda: usage_at(cast.acme, *moments))
    await in_thread(lambda: tenant_update(tenant_id=cast.acme.id, actor="t", spend_per_month_microusd=1))
    visit = await visit_as(browser, site_server, cast.member, timezone_id=zone)
    page = await visit.open("/console/acme/usage/")
    await expect(page.locator("#tz")).to_have_value(re.compile("Asia/(Kolkata|Calcutta)|America/Los_Angeles"))
    await expect(page.locator(".budget >> text=of $0.000001")).to_be_visible()
    await page.click("#buckets-details summary")
    rows = await page.eval_on_selector_all(
        "#buckets tbody tr",
        "rows => rows.map(row => [row.dataset.start.slice(0, 10), row.cells[1].innerText])",
    )
    local = [moment.astimezone(ZoneInfo(zone)).date().isoformat() for moment in moments]
    assert rows == [[day, str(local.count(day))] for day, _ in rows]
    assert len(rows) == 14
    assert sum(int(count) for _, count in rows) == len(moments)
    await expect(page.locator("[data-total=requests]")).to_have_text(str(len(moments)))
    await expect(page.locator("#buckets tbody tr").last).to_contain_text("incomplete")

    body = await page.evaluate("fetch(location.pathname + '?format=csv').then(answer => answer.text())")
    table = list(csv.DictReader(io.StringIO(body)))
    assert sum(int(row["requests"]) for row in table) == len(moments)
    ledger = await in_thread(lambda: sum(UsageRecord.objects.values_list("cost_microusd", flat=True)))
    assert sum(int(row["cost_microusd"]) for row in table) == ledger

    await page.click("#parts tfoot a")
    await expect(page.locator("text=records and sums agree")).to_be_visible()
    await expect(page.locator("tbody tr")).to_have_count(len(moments))
    assert visit.faults == []


async def test_the_playground_streams_two_answers_through_the_api_and_they_count_as_the_persons(
    browser: Browser, cast: Cast, tiny: None, site_server: int, redis_client: redis.Redis
) -> None:
    with faulty_engine() as engine, worker(engine, redis_client):
        visit = await visit_as(browser, site_server, cast.member)
        prompt = quote("pieces=12 gap=0.02")
        page = await visit.open(f"/console/acme/playground/?a=tiny&b=tiny&p={prompt}")
        await page.click("#send")
        panes = page.locator("[data-pane]")
        for index in (0, 1):
            pane = panes.nth(index)
            await expect(pane.locator("[data-finish]")).to_have_text("stop")
            await expect(pane.locator("[data-answer]")).to_contain_text("w0 w1 w2")
            await expect(pane.locator("[data-tokens]")).to_have_text("7 + 12")
            await expect(pane.locator("[data-cost]")).to_have_text("$0.000127")
            await expect(pane.locator("[data-ttft]")).to_have_text(re.compile(r"\d+ ms|\d+\.\d+ s"))
            await expect(pane.locator("[data-speed]")).to_contain_text("tokens/s")
        await panes.nth(0).locator("text=Copy as curl").click()
        command = await page.evaluate("navigator.clipboard.readText()")
        assert "$OPENAI_API_KEY" in command
        assert "sk-cy-" not in await page.content() + command
        key = await in_thread(lambda: ApiKey.objects.select_related("user").get(purpose="playground"))
        assert (key.user, key.name, key.scopes) == (cast.member, "playground of member", ["inference"])
        await eventually(lambda: _keys_used(redis_client, cast) == [str(key.id)] * 2)
        assert visit.faults == []


async def test_a_changed_prompt_is_no_longer_called_that_of_the_file(
    browser: Browser, cast: Cast, site_server: int, redis_client: redis.Redis
) -> None:
    await in_thread(lambda: tuned_model(cast, chat_line(("user", "Is it late?"))))
    visit = await visit_as(browser, site_server, cast.member)
    page = await visit.open(f"/console/acme/playground/?a={MODEL}")
    await expect(page.locator("#prompt")).to_have_value("Is it late?")
    help_text = page.locator("#prompt + .help")
    await expect(help_text).to_have_text("This is the first prompt of chats.jsonl. Ctrl + Enter sends.")
    await page.fill("#prompt", "Is it early?")
    await expect(help_text).to_have_text("Ctrl + Enter sends.")
    assert visit.faults == []


def _keys_used(client: redis.Redis, cast: Cast) -> list[str | None]:
    """Return the keys of the tenant's ended requests; the site may still record those of earlier tests."""
    facts = [fact for fact in facts_of(client) if isinstance(fact, RequestEnded)]
    return [fact.key_id for fact in facts if fact.tenant_id == str(cast.acme.id)]


async def test_the_playground_shows_errors_in_place_stops_on_request_and_renews_a_lost_key(
    browser: Browser, cast: Cast, tiny: None, site_server: int, redis_client: redis.Redis
) -> None:
    with faulty_engine() as engine, worker(engine, redis_client):
        visit = await visit_as(browser, site_server, cast.member)
        page = await visit.open("/console/acme/playground/?a=tiny")
        await expect(page.locator("#send-reason")).to_have_text("Write a prompt first.")
        await page.fill("#prompt", "error_400")
        await page.click("#send")
        failure = page.locator("[data-pane=a] [data-failure]")
        await expect(failure.locator("[data-failure-code]")).to_have_text("context_length_exceeded")
        await expect(failure.locator("[data-failure-remedy]")).not_to_be_empty()

        await in_thread(lambda: ApiKey.objects.filter(purpose="playground").update(secret_hash="0" * 64))
        await in_thread(lambda: redis_client.publish(names.CHANGES_CHANNEL, _key_change()))
        await page.fill("#prompt", "pieces=500 gap=0.05")
        await page.keyboard.press("Control+Enter")
        await expect(page.locator("[data-answer]").first).to_contain_text("w3")
        await page.click("#stop")
        await expect(page.locator("[data-finish]").first).to_have_text("stopped")
        await expect(page.locator("#send")).to_be_enabled()


def _key_change() -> str:
    return f"key {ApiKey.objects.get(purpose='playground').prefix}"


@pytest.mark.case("admin.3")
async def test_a_killed_worker_is_lost_within_the_heartbeats_expiry_and_its_return_needs_no_reload(
    browser: Browser, cast: Cast, tiny: None, site_server: int, redis_client: redis.Redis
) -> None:
    with faulty_engine() as engine:
        visit = await visit_as(browser, site_server, cast.member)
        with worker(engine, redis_client) as process:
            models = await visit.open("/console/acme/models/")
            state = models.locator("[data-model=tiny]")
            await expect(state).to_contain_text("Served by 1 worker.")
            playground = await visit.context.new_page()
            await playground.goto(f"{visit.address}/console/acme/playground/?a=tiny&p=hello")
            await expect(playground.locator("#send")).to_be_enabled()
            await models.bring_to_front()
            process.kill()
            await expect(state).to_contain_text(re.compile(r"Worker lost, seen \d+ s ago"))
            await playground.bring_to_front()
            await expect(playground.locator("#send")).to_be_disabled()
            await expect(playground.locator("#send-reason")).to_contain_text("Worker lost, seen")
        with worker(engine, redis_client):
            await expect(playground.locator("#send")).to_be_enabled()
            await models.bring_to_front()
            await expect(state).to_contain_text("Served by 1 worker.")


PAGES = (
    *("models/", "models/tiny/", "playground/?a=tiny", "keys/", "usage/", "usage/records/"),
    *("audit/", "audit/requests/", "audit/refusals/", "members/"),
)


@pytest.mark.parametrize(("locale", "theme"), [("en-US", "light"), ("zh-CN", "dark")])
async def test_every_page_is_accessible_and_fits_phones_and_wide_screens(
    browser: Browser, cast: Cast, tiny: None, site_server: int, locale: str, theme: str
) -> None:
    key_id = await in_thread(lambda: _operator_with_records(cast))
    visit = await visit_as(browser, site_server, cast.owner, locale=locale)
    cookie = {"name": "cyllm_theme", "value": theme, "url": visit.address}
    await visit.context.add_cookies([cookie])  # type: ignore[list-item]
    faults = []
    pages = [*PAGES, f"keys/{key_id}/"]
    for path in [*(f"/console/acme/{page}" for page in pages), "/console/status/"]:
        await visit.open(path)
        faults += [f"{path}: {fault}" for fault in await visit.axe_faults()]
        for width in WIDTHS:
            await visit.page.set_viewport_size({"width": width, "height": 900})
            if await visit.is_too_wide():
                faults.append(f"{path} scrolls sideways at {width}")
    assert faults == []
    assert visit.faults == []


def _operator_with_records(cast: Cast) -> uuid.UUID:
    """Make the owner an operator, and return the id of a key with usage."""
    cast.owner.is_superuser = cast.owner.is_staff = True
    cast.owner.save()
    now = dt.datetime.now(dt.UTC)
    key = ApiKey.objects.get(tenant=cast.acme)
    usage_at(cast.acme, *(now - dt.timedelta(days=days) for days in range(5)), key=key)
    return key.id


async def test_an_open_usage_page_shows_new_usage_within_a_minute_without_losing_its_state(
    browser: Browser, cast: Cast, redis_client: redis.Redis, site_server: int
) -> None:
    await in_thread(lambda: usage_at(cast.acme, dt.datetime.now(dt.UTC)))
    visit = await visit_as(browser, site_server, cast.member)
    await visit.page.clock.install()
    page = await visit.open("/console/acme/usage/?tz=UTC")
    await page.click("#buckets-details summary")
    await page.click("[data-measure=requests]")
    await in_thread(lambda: usage_at(cast.acme, *[dt.datetime.now(dt.UTC)] * 2))
    await page.clock.run_for(61_000)
    await expect(page.locator("[data-total=requests]")).to_have_text("3")
    await expect(page.locator("#buckets tfoot")).to_be_visible()
    await expect(page.locator("[data-measure=requests]")).to_have_attribute("aria-pressed", "true")
    assert visit.faults == []


CHART = "document.getElementById('usage-chart').toDataURL()"


async def _has_changed(page: Page, before: str) -> bool:
    return bool(await page.evaluate(CHART) != before)


async def test_the_chart_and_a_key_dialog_work_by_keyboard_and_follow_the_theme(
    browser: Browser, cast: Cast, redis_client: redis.Redis, site_server: int
) -> None:
    await in_thread(lambda: usage_at(cast.acme, dt.datetime.now(dt.UTC)))
    visit = await visit_as(browser, site_server, cast.member)
    page = await visit.open("/console/acme/usage/?tz=UTC")
    before = await page.evaluate(CHART)
    await page.select_option("#theme", "dark")
    await eventually(lambda: _has_changed(page, before))
    await page.focus("[data-measure=cost]")
    await page.keyboard.press("Enter")
    await expect(page.locator("[data-measure=cost]")).to_have_attribute("aria-pressed", "true")

    await visit.open("/console/acme/keys/")
    await page.focus("text=New key")
    await page.keyboard.press("Enter")
    await page.keyboard.type("by keyboard")
    await page.keyboard.press("Enter")
    await expect(page.locator("#secret")).to_contain_text("sk-cy-")
    await page.keyboard.press("Escape")
    await expect(page.locator("#key-table")).to_contain_text("by keyboard")
    assert visit.faults == []
