"""An administrator sets up a second factor in a real browser, and signs in with it."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django_otp.oath import totp

from deploy.local.processes.supervisor import Supervisor
from tests.browser import IN_BROWSER, Visit
from tests.console.harness.browsing import visit
from tests.people import PASSWORD
from tests.site_server import running_site

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.criterion("6.5"), *IN_BROWSER]

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def strict_site(test_servers: Supervisor, django_db_setup: None, redis_url: str) -> Iterator[int]:
    """The port of a site that requires a second factor of administrators."""
    with running_site(test_servers, "strict-site", CYLLM_REQUIRE_TWO_FACTOR="true") as number:
        yield number


@pytest.fixture
def strict_port(strict_site: int, transactional_db: None) -> int:
    """The port of a site with an administrator."""
    from django.contrib.auth.models import User

    User.objects.create_superuser("boss", password=PASSWORD)
    return strict_site


async def sign_in(browser: Visit, path: str) -> None:
    """Give the password."""
    page = await browser.open(path)
    await page.fill("[name=username]", "boss")
    await page.fill("[name=password]", PASSWORD)
    await page.press("[name=password]", "Enter")
    await page.wait_for_selector("[name=code]")


async def look(browser: Visit, name: str) -> None:
    """Check a page for faults of its layout and for people with disabilities."""
    if folder := os.environ.get("SHOTS"):
        await browser.page.screenshot(path=f"{folder}/{name}.png", full_page=True)
    assert not await browser.is_too_wide()
    assert await browser.axe_faults() == []


@pytest.mark.parametrize(("width", "scheme"), [(375, "dark"), (1440, "light")])
async def test_an_app_is_set_up_at_the_first_sign_in_and_asked_at_the_next(
    strict_port: int, width: int, scheme: str
) -> None:
    options = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
    async with visit(strict_port, None, **options) as browser:
        await sign_in(browser, "/admin/login/?next=/admin/")
        await look(browser, f"enrol-{width}")
        assert await browser.page.locator("svg").count() >= 1
        secret = (await browser.page.inner_text("code")).strip()
        key = base64.b32decode(secret + "=" * (-len(secret) % 8))
        await browser.page.fill("[name=code]", f"{totp(key):06d}")
        await browser.page.press("[name=code]", "Enter")
        codes = re.findall(
            r"(?:[a-z2-7]{4}-){3}[a-z2-7]{4}", await browser.page.inner_text("#recovery-codes")
        )
        assert len(codes) == 10
        await look(browser, f"codes-{width}")
        await browser.page.click("main a.button")
        await browser.page.wait_for_url("**/admin/")
        await browser.open("/console/two-factor/")
        await look(browser, f"state-{width}")
        await browser.context.clear_cookies()
        await sign_in(browser, "/console/sign-in/")
        await look(browser, f"code-{width}")
        await browser.page.fill("[name=code]", codes[0])
        await browser.page.press("[name=code]", "Enter")
        await browser.page.wait_for_url(re.compile("/console/(?!sign-in)"))
        assert browser.faults == []
