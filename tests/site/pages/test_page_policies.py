"""Content security policy of the site's pages, and the API reference, in a real browser."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from tests.browser import IDLE, IN_BROWSER, Visit, policy_faults

pytestmark = IN_BROWSER
FORMS = ("tenants/apikey/add/", "registry/servedmodel/add/", "tenants/membership/add/", "auth/user/add/")


async def use(page: Page) -> None:
    """Open what a page hides: its filters, its menus and its first selection."""
    for selector in ("#account-dropdown", "text=Filters", "input.action-select >> nth=0"):
        element = page.locator(selector).first
        if await element.count() and await element.is_visible():
            await element.click()
            await page.evaluate(IDLE)


@pytest.mark.criterion("6.8")
async def test_no_page_violates_its_content_security_policy(visit: Visit) -> None:
    page, faults = visit.page, []
    links = await page.eval_on_selector_all("#nav-sidebar-apps a", "links => links.map(link => link.href)")
    assert len(links) > 15
    addresses = ["/admin/", *(f"/admin/{form}" for form in FORMS), "/docs", "/", "/console/", "/nothing"]
    for address in [*links, *(visit.address + address for address in addresses)]:
        await page.goto(address)
        await visit.settle()
        await use(page)
        faults += [f"{address} {fault}" for fault in await policy_faults(page)]
    assert not faults, "\n".join(faults)


@pytest.mark.case("admin.4")
async def test_the_reference_works_with_a_pasted_key(visit: Visit) -> None:
    from tenants.keys.services import key_create
    from tenants.models import Tenant
    from tests.gateway.harness.threads import in_thread

    def create() -> str:
        return key_create(tenant=Tenant.objects.get(slug="acme"), name="pasted", actor="tests")[1]

    page, key = visit.page, await in_thread(create)
    await page.goto(f"{visit.address}/docs")
    await page.click(".swagger-ui .authorize >> nth=0")
    await page.fill(".auth-container input", key)
    await page.click(".auth-btn-wrapper .authorize")
    await page.click(".auth-btn-wrapper .btn-done")
    await page.click(".opblock-get .opblock-summary-path[data-path='/v1/models'] >> nth=0")
    await page.click(".opblock.is-open .execute")
    status = page.locator(".responses-table.live-responses-table .response .response-col_status")
    await expect(status.first).to_contain_text("200")
    assert await policy_faults(page) == []

    await page.click("text=Administration")
    await page.wait_for_selector(".opblock-summary-path[data-path='/api/admin/v1/tenants']")
    assert page.url.endswith("?document=administration")
    await page.reload()
    await page.click(".opblock-summary-path[data-path='/api/admin/v1/tenants'] >> nth=0")
    await page.click(".opblock.is-open .execute")
    # The administrator is signed in, so the session authenticates the request.
    await expect(status.first).to_contain_text("200")
    assert visit.faults == []
