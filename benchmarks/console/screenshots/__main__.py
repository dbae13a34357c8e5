"""Pictures of every page in three widths, two themes and two languages, on a site with sample data.

``python -m benchmarks.console.screenshots``. Needs Chromium. Writes the pictures and a contact sheet,
``index.html``, to a folder, and prints the pages that scroll sideways. ``--pages`` and ``--language`` make a
part of the set; ``--docs`` replaces the pictures of the documentation instead.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.console.screenshots.addresses import PageAddress, page_addresses
from benchmarks.console.screenshots.camera import Picture, page_pictures
from benchmarks.console.screenshots.contact_sheet import write_sheet
from benchmarks.console.screenshots.illustrations import take_illustrations
from benchmarks.console.screenshots.workers import sample_workers
from benchmarks.console.site import ROOT, running_servers, running_site
from tests.console.harness.sample_site import SampleSite, fill_site
from tests.people import session_key

if TYPE_CHECKING:  # importable before Django is set up
    from playwright.async_api import Browser

LOCALES = {"en": "en-US", "zh": "zh-CN"}
SETTINGS = "benchmarks.console.screenshots.failing_settings"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--folder", type=Path, default=ROOT / ".cyllm" / "screenshots")
    parser.add_argument("--pages", default="", help="a regular expression that the paths of pages contain")
    parser.add_argument("--language", choices=LOCALES, action="append", help="default: all")
    parser.add_argument("--docs", action="store_true", help="replace docs/images/ instead")
    return parser.parse_args()


def main() -> None:
    """Run the sample site and take the pictures."""
    options = _options()
    with running_servers() as servers:
        sample, cookie = _fill()
        workers = sample_workers(os.environ["CYLLM_REDIS_URL"])
        with workers, running_site(servers, {"DJANGO_SETTINGS_MODULE": SETTINGS}) as address:
            addresses = page_addresses(address, {"sessionid": cookie}, sample)
            asyncio.run(_visit(address, cookie, sample, addresses, options))


def _fill() -> tuple[SampleSite, str]:
    from django.contrib.auth.models import User

    from tenants.services import tenant_create

    tenant = tenant_create(slug="acme", name="Acme", actor="cli:install")
    tenant_create(slug="globex", name="Globex", actor="cli:install")
    operator = User.objects.create_superuser("owner", email="owner@acme.example")
    return fill_site(tenant, operator), session_key(operator)


async def _visit(
    address: str, cookie: str, sample: SampleSite, addresses: list[PageAddress], options: argparse.Namespace
) -> None:
    from playwright.async_api import async_playwright

    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        sys.exit("chromium is not installed (apt-get install chromium)")
    cookies = [{"name": "sessionid", "value": cookie, "url": address}]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"]
        )
        if options.docs:
            await take_illustrations(browser, address, cookies, sample.job_id)
        else:
            pages = [each for each in addresses if re.search(options.pages, each.path)]
            pictures = await _take(browser, address, cookies, pages, options)
            sheet = write_sheet(pictures, options.folder)
            print(f"{len(pictures)} pictures of {len(pages)} pages: {sheet}")
        await browser.close()


async def _take(
    browser: Browser,
    address: str,
    cookies: list[Any],
    addresses: list[PageAddress],
    options: argparse.Namespace,
) -> list[Picture]:
    pictures: list[Picture] = []
    for language in options.language or LOCALES:
        for is_signed_in in (False, True):
            context = await browser.new_context(locale=LOCALES[language], timezone_id="UTC")
            if is_signed_in:
                await context.add_cookies(cookies)
            page = await context.new_page()
            for each in addresses:
                if each.is_signed_in is is_signed_in:
                    url = address + each.path
                    pictures += await page_pictures(page, url, each, language, options.folder)
            await context.close()
    for picture in pictures:
        if picture.is_too_wide:
            print(f"scrolls sideways: {picture.file}")
    return pictures


if __name__ == "__main__":
    main()
