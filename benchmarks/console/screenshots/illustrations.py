"""The pictures of the README and the documentation, in docs/images/."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from benchmarks.console.screenshots.camera import SETTLE_MS
from benchmarks.console.screenshots.chat import PROMPT, sample_chat
from benchmarks.console.site import ROOT
from tests.browser import Theme, set_theme
from tests.console.harness.sample_site import ADAPTER, BASE_MODEL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from playwright.async_api import Browser, Page

FOLDER = ROOT / "docs" / "images"
WIDTH = 1440
PLAYGROUND = "playground"


@dataclass(frozen=True)
class Illustration:
    """A picture of a page. ``height`` in pixels; {job} in the path is the sample site's running job."""

    file: str
    path: str
    height: int
    theme: Theme = "light"
    locale: str = "en-US"


ILLUSTRATIONS = (
    Illustration("console-jobs.png", "/console/acme/jobs/", 1000),
    Illustration("console-job.png", "/console/acme/jobs/{job}/", 1400),
    Illustration("console-models.png", "/console/acme/models/", 620, theme="dark"),
    Illustration("console-usage.png", "/console/acme/usage/", 1180, theme="dark"),
    Illustration(
        "console-playground.png",
        f"/console/acme/{PLAYGROUND}/?a={BASE_MODEL}&b={quote(ADAPTER)}&p={quote(PROMPT)}",
        900,
    ),
    Illustration("admin-zh.png", "/admin/", 1390, locale="zh-CN"),
)


async def take_illustrations(browser: Browser, address: str, cookies: Sequence[object], job_id: str) -> None:
    """Replace the six pictures."""
    for illustration in ILLUSTRATIONS:
        context = await browser.new_context(
            viewport={"width": WIDTH, "height": illustration.height}, locale=illustration.locale
        )
        await context.add_cookies(cookies)  # type: ignore[arg-type]
        page = await context.new_page()
        async with sample_chat() as chat:
            await page.route("**/v1/chat/completions", lambda route: route.continue_(url=chat))
            await page.goto(address + illustration.path.format(job=job_id))
            await page.wait_for_load_state("networkidle")
            await set_theme(page, illustration.theme)
            if PLAYGROUND in illustration.path:
                await _send(page)
        await page.wait_for_timeout(SETTLE_MS)
        await page.screenshot(path=Path(FOLDER, illustration.file))
        await context.close()


async def _send(page: Page) -> None:
    await page.click("#send:enabled")
    await page.wait_for_selector("#stop", state="hidden")
    await page.wait_for_function(
        "() => [...document.querySelectorAll('[data-finish]')].every(each => each.textContent === 'stop')"
    )
