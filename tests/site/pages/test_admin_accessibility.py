"""Every page of the admin: axe finds nothing serious in either theme, and the page fits a phone."""

from __future__ import annotations

import pytest
import redis
from django.contrib.auth.models import User

from tenants.models import Tenant
from tests.browser import IN_BROWSER, THEMED_RULES, Visit, policy_faults, set_theme
from tests.console.harness.heartbeats import beat, heartbeat, lose
from tests.console.harness.sample_site import fill_site
from tests.gateway.harness.threads import in_thread
from tests.site.harness.admin_urls import admin_pages
from training.models import FineTuningJob

pytestmark = IN_BROWSER
OTHER_PAGES = ("/docs", "/nothing", "/admin/nothing")
# Swagger UI's own markup is not ours to judge; the sidebar is the same on every page but the first.
LEFT_OUT = "#reference, #nav-sidebar"
PARTS = 3
# The texts of a list's cells that are cut off.
CUT_CELLS = """() => [...document.querySelectorAll("#result_list td, #result_list th")]
  .filter((cell) => cell.offsetParent && cell.scrollHeight > cell.clientHeight + 1)
  .map((cell) => cell.textContent.trim())"""


def _filled_site(client: redis.Redis) -> list[str]:
    """Fill the site; return the pages that the administrator may open."""
    boss = User.objects.get(username="boss")
    fill_site(Tenant.objects.get(slug="acme"), boss)
    for worker_id in ("worker-1", "worker-2"):
        beat(client, heartbeat(worker_id))
    lose(client, "worker-2", 60)
    return admin_pages(boss)


@pytest.mark.case("admin.21")
@pytest.mark.parametrize("part", range(PARTS))
async def test_no_page_has_a_serious_finding_of_axe_in_either_theme(
    redis_client: redis.Redis, visit: Visit, part: int
) -> None:
    faults: list[str] = []
    pages: set[str] = set()
    paths = await in_thread(lambda: _filled_site(redis_client))
    for path in [*paths, *OTHER_PAGES][part::PARTS]:
        response = await visit.page.goto(visit.address + path)
        if response is None or visit.page.url in pages:
            continue  # it redirects to a page that was visited
        await visit.settle()
        without = LEFT_OUT if pages else "#reference"
        pages.add(visit.page.url)
        await set_theme(visit.page, "light")
        faults += await visit.axe_faults(without=without)
        await set_theme(visit.page, "dark")
        assert await visit.page.evaluate("document.documentElement.matches('.dark, [data-theme=system]')")
        faults += await visit.axe_faults(without=without, rules=THEMED_RULES)
    assert len(pages) > 60 / PARTS
    assert not faults, "\n".join(faults)


@pytest.mark.case("admin.21")
async def test_every_page_fits_a_phone_and_keeps_the_content_security_policy(
    redis_client: redis.Redis, visit: Visit
) -> None:
    faults: list[str] = []
    paths = await in_thread(lambda: _filled_site(redis_client))
    await in_thread(lambda: FineTuningJob.objects.update(fine_tuned_model=f"ft:base:acme:{'long-name-' * 8}"))
    await visit.page.set_viewport_size({"width": 375, "height": 800})
    for path in paths:
        await visit.open(path)
        await visit.settle()
        faults += [f"{path} {fault}" for fault in await policy_faults(visit.page)]
        faults += [f"{path} too wide"] if await visit.is_too_wide() else []
        faults += [f"{path} cut: {text}" for text in await visit.page.evaluate(CUT_CELLS)]
    assert not faults, "\n".join(faults)
