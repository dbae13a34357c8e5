"""A real browser at a production server: Chromium, and the faults that it finds on a page."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import pytest
import pytest_asyncio

from deploy.local.processes.supervisor import Supervisor
from tests.patience import PATIENCE_S
from tests.people import PASSWORD
from tests.site_server import running_site

if TYPE_CHECKING:
    from playwright.async_api import (
        Browser,
        BrowserContext,
        ConsoleMessage,
        Page,
        Request,
        Response,
        ViewportSize,
    )

FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run"),
)
Theme = Literal["light", "dark"]
SCREEN: ViewportSize = {"width": 1366, "height": 900}
QUIET_S = 0.1
# The rules of axe whose findings depend on the theme.
THEMED_RULES = ("color-contrast", "link-in-text-block")
IDLE = "() => new Promise(done => requestIdleCallback(() => done()))"
# The console's theme follows the browser; the admin's is a variable of its scripts.
SET_THEME = """async (theme) => {
  if (window.Alpine) window.Alpine.$data(document.documentElement).adminTheme = theme;
  await new Promise((done) => requestAnimationFrame(() => done()));
  for (const each of document.getAnimations()) if (each instanceof CSSTransition) each.finish();
}"""
RUN_AXE = """async ([context, options]) =>
  (await axe.run(context ?? document, options)).violations"""
# Violations of the content security policy, which a page can cause without a message on its console.
WATCH_POLICY = """
window.policyFaults = [];
document.addEventListener("securitypolicyviolation", (event) => window.policyFaults.push(
  `${event.effectiveDirective}: ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
"""


def chromium_path() -> str:
    """Return the path of the browser. Without one, tests are skipped locally and fail in CI."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        reason = "chromium is not installed (apt-get install chromium)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return path


# For modules whose tests share one Chromium, which lives in an event loop that they share as well.
IN_BROWSER = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.usefixtures("chromium")]
_browsers: dict[asyncio.AbstractEventLoop, Browser] = {}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[None]:
    """One Chromium for all tests in the session's event loop."""
    async with _running_browser() as browser:
        _browsers[asyncio.get_running_loop()] = browser
        yield


@asynccontextmanager
async def open_browser() -> AsyncIterator[Browser]:
    """Yield the Chromium of the event loop, or a new one. Windows opened inside are closed at the end."""
    browser = _browsers.get(asyncio.get_running_loop())
    if browser is None or not browser.is_connected():
        async with _running_browser() as browser:
            yield browser
        return
    others = list(browser.contexts)
    try:
        yield browser
    finally:
        for context in browser.contexts:
            if context not in others:
                await context.close()


@asynccontextmanager
async def _running_browser() -> AsyncIterator[Browser]:
    from playwright.async_api import async_playwright, expect

    expect.set_options(timeout=PATIENCE_S * 1000)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium_path(), args=FLAGS)
        yield browser
        await browser.close()


@pytest.fixture(scope="session")
def _site_port(django_db_setup: None, redis_url: str, test_servers: Supervisor) -> Iterator[int]:
    with running_site(test_servers, "site") as port:
        yield port


@pytest.fixture
def live_site(transactional_db: None, _site_port: int) -> str:
    """The address of a production server on the test database, with an administrator."""
    from django.contrib.auth.models import User

    from tenants.services import tenant_create

    User.objects.create_superuser("boss", password=PASSWORD)
    tenant_create(slug="acme", name="Acme", actor="tests")
    return f"http://127.0.0.1:{_site_port}"


@dataclass
class Visit:
    """A window of the browser. ``faults``: errors on its console, failed requests, uncaught errors."""

    page: Page
    address: str
    faults: list[str] = field(default_factory=list)
    _open_requests: set[Request] = field(default_factory=set)

    @property
    def context(self) -> BrowserContext:
        """The window's cookies, permissions and pages."""
        return self.page.context

    def watch(self) -> None:
        """Record the faults and the open requests from now on."""
        self.page.on("request", self._begin_request)
        self.page.on("requestfinished", self._end_request)
        self.page.on("requestfailed", self._end_request)
        self.page.on("console", self._record_message)
        self.page.on("response", self._record_response)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))

    # Methods, because playwright can't register those of a built-in class.
    def _begin_request(self, request: Request) -> None:
        self._open_requests.add(request)

    def _end_request(self, request: Request) -> None:
        self._open_requests.discard(request)

    def _record_message(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(f"{self.page.url}: {message.text}")

    def _record_response(self, response: Response) -> None:
        if response.status >= 400:
            self.faults.append(f"{response.status} {response.url}")

    async def open(self, path: str) -> Page:
        """Go to a page of the site."""
        await self.page.goto(self.address + path)
        return self.page

    async def settle(self) -> None:
        """Wait until the page has run its scripts and has had no open request for a tenth of a second."""
        await self.page.evaluate(IDLE)
        clock = asyncio.get_running_loop().time
        quiet_since = clock()
        while clock() - quiet_since < QUIET_S:
            await asyncio.sleep(0.02)
            if self._open_requests:
                quiet_since = clock()

    async def is_too_wide(self) -> bool:
        """Return whether the page scrolls sideways."""
        script = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
        return bool(await self.page.evaluate(script))

    async def axe_faults(self, without: str = "", rules: Sequence[str] = ()) -> list[str]:
        """Return the serious and critical findings of axe, except in elements of the selector ``without``.

        ``rules``: only these; empty means all.
        """
        from axe_playwright_python.base import AXE_SCRIPT  # type: ignore[import-untyped]

        if not await self.page.evaluate("'axe' in window"):
            await self.page.evaluate(AXE_SCRIPT)
        context = {"exclude": [[without]]} if without else None
        options: dict[str, Any] = {"resultTypes": ["violations"]}
        if rules:
            options["runOnly"] = {"type": "rule", "values": list(rules)}
        violations = await self.page.evaluate(RUN_AXE, [context, options])
        return [
            f"{self.page.url} {finding['id']}: {node['html'][:160]} {node['failureSummary']}"
            for finding in violations
            if finding["impact"] in ("serious", "critical")
            for node in finding["nodes"]
        ]


@pytest_asyncio.fixture(params=["en-US"], loop_scope="session")
async def visit(live_site: str, request: pytest.FixtureRequest) -> AsyncIterator[Visit]:
    """A browser in the parameter's language, with the administrator signed in."""
    async with open_browser() as browser:
        context = await browser.new_context(locale=request.param, viewport=SCREEN)
        visit = await begin_visit(context, live_site)
        await visit.page.goto(f"{live_site}/admin/")
        await visit.page.fill("[name=username]", "boss")
        await visit.page.fill("[name=password]", PASSWORD)
        await visit.page.click("button[type=submit]")
        await visit.page.wait_for_url(f"{live_site}/admin/")
        yield visit


async def begin_visit(context: BrowserContext, address: str) -> Visit:
    """Return a new window that records its faults."""
    context.set_default_timeout(PATIENCE_S * 1000)
    await context.grant_permissions(["clipboard-read", "clipboard-write"])
    await context.add_init_script(WATCH_POLICY)
    visit = Visit(await context.new_page(), address)
    visit.watch()
    return visit


async def set_theme(page: Page, theme: Theme) -> None:
    """Change the theme of the open page, whose colours change at once."""
    await page.emulate_media(color_scheme=theme)
    await page.evaluate(SET_THEME, theme)


async def policy_faults(page: Page) -> list[str]:
    """Return the violations of the content security policy on the page so far."""
    faults: list[str] = await page.evaluate("window.policyFaults")
    return faults
