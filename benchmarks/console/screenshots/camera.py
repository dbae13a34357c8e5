"""Pictures of a page in every width and theme, from one visit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.browser import Theme, set_theme

if TYPE_CHECKING:
    from playwright.async_api import Page

    from benchmarks.console.screenshots.addresses import PageAddress

WIDTHS = (375, 768, 1440)
THEMES: tuple[Theme, ...] = ("light", "dark")
HEIGHT = 900
MAX_HEIGHT = 3000
SETTLE_MS = 250  # charts follow the size of their boxes and the colours of the theme a moment later
IS_TOO_WIDE = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


@dataclass(frozen=True)
class Picture:
    """A file of the set, and whether its page scrolls sideways."""

    page: str
    language: str
    theme: Theme
    width: int
    is_too_wide: bool = False

    @property
    def file(self) -> str:
        """The path below the folder of the set."""
        return f"{self.language}/{self.theme}-{self.width}/{self.page}.jpg"


async def page_pictures(
    page: Page, url: str, address: PageAddress, language: str, folder: Path
) -> list[Picture]:
    """Open a page and write its pictures, cut after 3,000 px."""
    await page.set_viewport_size({"width": WIDTHS[-1], "height": HEIGHT})
    await page.goto(url)
    await page.wait_for_load_state("networkidle")
    return [
        await _picture(page, Picture(address.name, language, theme, width), folder)
        for theme, width in _variants()
    ]


def _variants() -> Iterator[tuple[Theme, int]]:
    for width in reversed(WIDTHS):
        for theme in THEMES:
            yield theme, width


async def _picture(page: Page, picture: Picture, folder: Path) -> Picture:
    await page.set_viewport_size({"width": picture.width, "height": HEIGHT})
    await set_theme(page, picture.theme)
    await page.wait_for_timeout(SETTLE_MS)
    # Fixed bars stay at the edges of the picture if the window is as high as the page.
    height = min(int(await page.evaluate("document.documentElement.scrollHeight")), MAX_HEIGHT)
    await page.set_viewport_size({"width": picture.width, "height": max(height, HEIGHT)})
    path = folder / picture.file
    path.parent.mkdir(parents=True, exist_ok=True)
    await page.screenshot(path=path, type="jpeg", quality=75)
    is_too_wide = bool(await page.evaluate(IS_TOO_WIDE))
    return Picture(picture.page, picture.language, picture.theme, picture.width, is_too_wide)
