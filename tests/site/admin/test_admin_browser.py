"""The admin in a real browser: the life of an API key, and every page without errors."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from django.utils import timezone
from playwright.async_api import Dialog, Page, expect

from cyllm_site.pages.navigation import GROUPS
from inference_worker.protocol.messages import Outcome
from tenants.keys.secrets import key_matches, split_key
from tenants.ledger.store import facts_store
from tenants.models import AdminAudit, ApiKey, Tenant
from tenants.services import tenant_update
from tests.browser import IN_BROWSER, SCREEN, Visit
from tests.gateway.harness.threads import in_thread
from tests.tenants.facts import end_fact
from tests.usage.records import usage_at

pytestmark = IN_BROWSER
CAN_BE_ADDED = frozenset(
    {"tenant", "membership", "apikey", "user", "servedmodel", "trainingpolicy", "serviceaccount"}
)


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
    await page.dblclick("button[name=_save]")  # the second click sends nothing
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


@pytest.mark.case("admin.18")
async def test_rotating_a_key_displays_the_new_secret_and_the_old_keys_expiry(visit: Visit) -> None:
    page = visit.page
    old = await _create_key(page, "rotating")
    await page.click("text=Done")
    await page.click("#result_list >> text=rotating")
    await page.click("text=Rotate")
    await page.select_option("[name=grace_s]", label="none: the old key expires now")
    await page.click("#content button:has-text('Rotate')")
    new = (await page.inner_text("#key-secret")).strip()
    await page.set_viewport_size({"width": 375, "height": 800})
    hidden_px = "secret => secret.scrollWidth - secret.clientWidth"
    assert await page.eval_on_selector("#key-secret", hidden_px) <= 0
    await page.set_viewport_size(SCREEN)
    assert f"The old key {split_key(old)} expires at" in await page.inner_text("#content")
    assert (await _models(visit.address, new), await _models(visit.address, old)) == (
        (200, None),
        (401, "key_expired"),
    )
    await page.click("text=Done")
    states = page.locator("#result_list .field-state")
    await expect(states).to_have_text(["expired", "valid"], ignore_case=True)
    assert visit.faults == []


async def test_a_raised_quota_is_in_the_audit_trail_which_nobody_can_edit(visit: Visit) -> None:
    page = visit.page
    secret = await _create_key(page, "canary")
    acme = await in_thread(lambda: Tenant.objects.get(slug="acme"))
    await in_thread(lambda: tenant_update(tenant_id=acme.id, actor="tests", concurrent_requests=5))
    await page.goto(f"{visit.address}/admin/tenants/tenant/{acme.pk}/change/")
    assert await page.input_value("[name=concurrent_requests]") == "5"
    await page.fill("[name=concurrent_requests]", "8")
    async with page.expect_response(lambda response: response.request.method == "POST") as saving:
        await page.click("button[name=_save]")
    request_id = await (await saving.value).header_value("x-request-id")
    assert request_id is not None

    await page.goto(f"{visit.address}/admin/tenants/adminaudit/")
    row = page.locator("#result_list tr", has_text="concurrent requests: 5 → 8")
    await expect(row).to_contain_text("user:boss")
    list_html = await page.content()
    await row.locator("a").first.click()
    await expect(page.locator("#content")).to_contain_text(request_id)
    html = list_html + await page.content()
    assert secret.removeprefix(f"sk-cy-{split_key(secret)}-") not in html
    assert await page.locator("button[name=_save], input[name=actor]").count() == 0
    token = await page.evaluate("document.querySelector('[name=csrfmiddlewaretoken]').value")
    form = {"csrfmiddlewaretoken": token, "actor": "user:nobody"}
    refusal = await visit.context.request.post(page.url, form=form, headers={"referer": page.url})
    assert refusal.status == 403
    assert not await in_thread(AdminAudit.objects.filter(actor="user:nobody").exists)


@pytest.mark.case("admin.10")
async def test_a_form_keeps_the_tenant_of_the_list_and_warns_before_typed_values_are_lost(
    visit: Visit,
) -> None:
    page = visit.page
    dialogs: asyncio.Queue[str] = asyncio.Queue()

    async def stay(dialog: Dialog) -> None:
        await dialog.dismiss()
        await dialogs.put(dialog.type)

    acme = await in_thread(lambda: Tenant.objects.get(slug="acme"))
    await page.goto(f"{visit.address}/admin/tenants/apikey/?tenant__id__exact={acme.pk}")
    for _ in ("on the list", "on the add page"):
        await page.click("a.addlink")
        await page.wait_for_url("**/apikey/add/**")
        await expect(page.locator("[name=tenant]")).to_have_value(str(acme.pk))
    page.on("dialog", stay)
    await page.click("[name=name]")
    await page.keyboard.type("half typed")
    await page.click("a.addlink", no_wait_after=True)
    assert await asyncio.wait_for(dialogs.get(), 10) == "beforeunload"
    assert await page.input_value("[name=name]") == "half typed"


@pytest.mark.case("admin.18")
async def test_the_error_code_of_a_refused_request_is_on_a_small_screen(visit: Visit) -> None:
    error_code = "decimal_above_max_value"

    def refuse() -> None:
        outcome = Outcome.REFUSED
        fact = end_fact("req_" + "a" * 32, attempt=0, outcome=outcome, status=400, error_code=error_code)
        facts_store([fact], now=timezone.now())

    await in_thread(refuse)
    page = visit.page
    await page.set_viewport_size({"width": 1280, "height": 800})
    await page.goto(f"{visit.address}/admin/tenants/auditrecord/")
    cell = page.locator("#result_list .field-error_code")
    await expect(cell).to_have_text(error_code)
    box = await cell.bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= 1280
    assert await page.evaluate("document.documentElement.scrollWidth") <= 1280


@pytest.mark.parametrize("visit", ["en-US", "zh-CN"], indirect=True)
async def test_every_page_of_the_sidebar_loads_without_errors_and_fits_the_screen(visit: Visit) -> None:
    page = visit.page
    links = await page.eval_on_selector_all("#nav-sidebar-apps a", "links => links.map(link => link.href)")
    assert len(links) == sum(len(models) for _title, models in GROUPS) + 1  # and the page of the workers
    add_pages = [f"{link}add/" for link in links if link.rsplit("/", 2)[1] in CAN_BE_ADDED]
    assert len(add_pages) == len(CAN_BE_ADDED)
    for link in [f"{visit.address}/admin/", *links, *add_pages]:
        await page.goto(link)
        width = await page.evaluate("document.documentElement.scrollWidth")
        assert width <= SCREEN["width"], link
    assert visit.faults == []


async def test_the_index_with_usage_fits_a_phone(visit: Visit) -> None:
    page = visit.page
    await _create_key(page, "a key with a long name")
    key = await in_thread(lambda: ApiKey.objects.select_related("tenant").get())
    await in_thread(lambda: usage_at(key.tenant, timezone.now(), key=key))
    await page.set_viewport_size({"width": 375, "height": 800})
    await page.goto(f"{visit.address}/admin/")
    await expect(page.locator("[aria-labelledby=top-keys] tbody tr")).to_have_count(1)
    assert await page.evaluate("document.documentElement.scrollWidth") == 375
    assert visit.faults == []
