"""The admin in a real browser: the life of an API key, and every page without errors."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import httpx
import pytest
import pytest_asyncio
from django.contrib.auth.models import User
from django.db import connection
from playwright.async_api import Page, ViewportSize, async_playwright, expect

from deploy.local.processes.supervisor import Program, Supervisor
from deploy.local.servers.ports import free_port
from tenants.keys import key_matches, split_key
from tenants.models import AdminAudit, ApiKey
from tenants.services import tenant_create
from tests.gateway.threads import in_thread
from tests.people import PASSWORD

if TYPE_CHECKING:
    from playwright.async_api import ConsoleMessage, Response

ROOT = Path(__file__).resolve().parents[2]
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run"),
)
SCREEN: ViewportSize = {"width": 1366, "height": 900}


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of the browser. Without one, tests are skipped locally and fail in CI."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        reason = "chromium is not installed (apt-get install chromium)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@pytest.fixture
def site(transactional_db: None, redis_url: str, test_servers: Supervisor) -> Iterator[str]:
    """The address of a production server on the test database, with an administrator."""
    User.objects.create_superuser("boss", password=PASSWORD)
    tenant_create(slug="acme", name="Acme", actor="tests")
    port = free_port()
    database = urlsplit(os.environ["CYLLM_DATABASE_URL"])._replace(
        path=f"/{connection.settings_dict['NAME']}"
    )
    program = Program(
        name="site",
        argv=[
            *(sys.executable, "-m", "cyllm_site.serve", "--port", str(port)),
        ],
        env={**os.environ, "CYLLM_DATABASE_URL": urlunsplit(database)},
        cwd=ROOT,
    )
    address = f"http://127.0.0.1:{port}"
    test_servers.start(program)
    test_servers.wait_until("site", lambda: _is_alive(f"{address}/health/live"), timeout_s=60)
    yield address
    test_servers.stop("site")


def _is_alive(address: str) -> bool:
    try:
        return httpx.get(address, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


@dataclass
class Visit:
    """A page of a signed-in browser; ``faults`` are its console errors and failed requests."""

    page: Page
    address: str
    faults: list[str] = field(default_factory=list)

    def record_message(self, message: ConsoleMessage) -> None:
        """Record an error or warning on the console."""
        if message.type in ("error", "warning"):
            self.faults.append(f"{self.page.url}: {message.text}")

    def record_response(self, response: Response) -> None:
        """Record a failed request."""
        if response.status >= 400:
            self.faults.append(f"{response.status} {response.url}")


@pytest_asyncio.fixture(params=["en-US"])
async def visit(chromium: str, site: str, request: pytest.FixtureRequest) -> AsyncIterator[Visit]:
    """A browser in the parameter's language, with the administrator signed in."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        context = await browser.new_context(locale=request.param, viewport=SCREEN)
        await context.grant_permissions(["clipboard-read", "clipboard-write"])
        visit = Visit(await context.new_page(), site)
        visit.page.on("console", visit.record_message)
        visit.page.on("pageerror", lambda error: visit.faults.append(str(error)))
        visit.page.on("response", visit.record_response)
        await visit.page.goto(f"{site}/admin/")
        await visit.page.fill("[name=username]", "boss")
        await visit.page.fill("[name=password]", PASSWORD)
        await visit.page.click("button[type=submit]")
        await visit.page.wait_for_url(f"{site}/admin/")
        yield visit
        await browser.close()


async def _models(address: str, secret: str) -> tuple[int, str | None]:
    async with httpx.AsyncClient(base_url=address) as client:
        response = await client.get("/v1/models", headers={"authorization": f"Bearer {secret}"})
    return response.status_code, response.json().get("error", {}).get("code")


async def _create_key(page: Page, name: str) -> str:
    """Submit the form; return the secret on the next page."""
    await page.click("#nav-sidebar >> text=API keys")
    await page.click("a[href$='/tenants/apikey/add/']")
    await page.click(".select2-selection")
    await page.click(".select2-results__option >> text=acme")
    await page.fill("[name=name]", name)
    await page.click("button[name=_save]")
    return (await page.inner_text("#key-secret")).strip()


@pytest.mark.criterion("6.1")
async def test_a_key_is_created_displayed_once_used_and_revoked(visit: Visit) -> None:
    page = visit.page
    secret = await _create_key(page, "browser")
    assert (await page.content()).count(secret) == 1
    await page.click("#copy-secret")
    await page.wait_for_selector("#copy-secret >> text=Copied")
    assert await page.evaluate("navigator.clipboard.readText()") == secret

    key = await in_thread(lambda: ApiKey.objects.get(name="browser"))
    assert split_key(secret) == key.prefix
    assert key_matches(secret, key.secret_hash)
    assert await _models(visit.address, secret) == (200, None)

    # Reloading the response of the form must neither reveal the secret nor create a second key.
    await page.reload()
    assert page.url == f"{visit.address}/admin/tenants/apikey/{key.pk}/change/"
    content = await page.content()
    assert key.prefix in content
    assert secret.removeprefix(f"sk-cy-{key.prefix}-") not in content
    assert await in_thread(ApiKey.objects.count) == 1

    await page.click("text=Revoke")
    await page.click("#content button:has-text('Revoke')")
    row = page.locator("#result_list tr", has_text="browser")
    await expect(row.locator(".field-state")).to_have_text("revoked", ignore_case=True)
    assert await _models(visit.address, secret) == (401, "key_revoked")
    actions = await in_thread(lambda: list(AdminAudit.objects.values_list("action", "actor")))
    assert actions[:2] == [("key.revoke", "user:boss"), ("key.create", "user:boss")]
    assert visit.faults == []


async def test_rotating_a_key_displays_the_new_secret_and_the_old_keys_expiry(visit: Visit) -> None:
    page = visit.page
    old = await _create_key(page, "rotating")
    await page.click("text=Done")
    await page.click("#result_list >> text=rotating")
    await page.click("text=Rotate")
    await page.select_option("[name=grace_s]", label="none: the old key expires now")
    await page.click("#content button:has-text('Rotate')")
    new = (await page.inner_text("#key-secret")).strip()
    assert f"The old key {split_key(old)} expires at" in await page.inner_text("#content")
    assert (await _models(visit.address, new), await _models(visit.address, old)) == (
        (200, None),
        (401, "key_expired"),
    )
    await page.click("text=Done")
    states = page.locator("#result_list .field-state")
    await expect(states).to_have_text(["expired", "valid"], ignore_case=True)
    assert visit.faults == []


@pytest.mark.parametrize("visit", ["en-US", "zh-CN"], indirect=True)
async def test_every_page_of_the_sidebar_loads_without_errors_and_fits_the_screen(visit: Visit) -> None:
    page = visit.page
    links = await page.eval_on_selector_all("#nav-sidebar-apps a", "links => links.map(link => link.href)")
    assert len(links) == 9
    add_pages = [
        f"{link}add/" for link in links if not link.endswith(("record/", "adminaudit/", "response/"))
    ]
    for link in [f"{visit.address}/admin/", *links, *add_pages]:
        await page.goto(link)
        width = await page.evaluate("document.documentElement.scrollWidth")
        assert width <= SCREEN["width"], link
    assert visit.faults == []
