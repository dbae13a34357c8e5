"""Error pages, the API reference, and the addresses that people try first."""

from __future__ import annotations

from unittest.mock import AsyncMock, Mock

import httpx
import pytest
from django.contrib.auth.models import User
from django.test import Client

from api.console.live.admission import session_key, session_user
from cyllm_site import asgi
from inference_worker.telemetry.log_formatters import TextFormatter
from tests.people import Cast

pytestmark = pytest.mark.django_db

CANARY = "canary.person@mail.example"
BROWSER = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"


@pytest.fixture
def browser() -> Client:
    """A signed-out browser that receives error pages."""
    return Client(raise_request_exception=False, headers={"accept": BROWSER})


@pytest.fixture
def staff(cast: Cast) -> Client:
    """A browser of a member of staff without any permission."""
    User.objects.filter(pk=cast.member.pk).update(is_staff=True)
    client = Client(raise_request_exception=False, headers={"accept": BROWSER})
    client.force_login(User.objects.get(pk=cast.member.pk))
    return client


@pytest.mark.case("admin.19")
@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", ("There is no such page", "Start page", "Console")),
        ("zh-hans", ("没有此页面", "首页", "控制台")),
    ],
)
def test_unknown_pages_have_style_navigation_and_both_languages(
    browser: Client, language: str, words: tuple[str, ...]
) -> None:
    response = browser.get("/nothing", headers={"accept-language": language})
    text = response.content.decode()
    assert response.status_code == 404
    assert "console/console.css" in text
    for word in words:
        assert word in text
    assert f'<html lang="{language}"' in text


@pytest.mark.case("admin.19")
def test_a_page_without_the_right_says_so_inside_the_admin(staff: Client) -> None:
    response = staff.get("/admin/tenants/apikey/")
    text = response.content.decode()
    assert response.status_code == 403
    assert "You may not open this page" in text
    assert "nav-sidebar" in text


@pytest.mark.case("admin.19")
@pytest.mark.urls("tests.site.harness.failing_urls")
@pytest.mark.parametrize("address", ["/broken", "/admin/broken"])
def test_a_failure_has_a_page_that_reveals_nothing_and_needs_no_database(staff: Client, address: str) -> None:
    response = staff.get(address)
    text = response.content.decode()
    assert response.status_code == 500
    assert "The server failed" in text
    assert "secret" not in text


@pytest.mark.case("admin.19")
def test_a_form_without_its_token_says_what_to_do(cast: Cast) -> None:
    client = Client(enforce_csrf_checks=True, headers={"accept": BROWSER})
    response = client.post("/console/sign-in/", {"username": "owner"})
    assert response.status_code == 403
    assert "This form is no longer valid" in response.content.decode()


@pytest.mark.case("admin.19")
def test_a_request_that_can_not_be_processed_says_so(browser: Client, cast: Cast) -> None:
    response = browser.get("/console/?next=%00")
    assert response.status_code == 400
    assert "This request can&#x27;t be processed" in response.content.decode()


@pytest.mark.parametrize("key", ['"abcdefgh\\000"', "ABCDEFGH", '"abcdefgh\\377"'])
def test_a_cookie_that_holds_no_session_is_that_of_a_signed_out_browser(browser: Client, key: str) -> None:
    cookie = f"sessionid={key}"
    assert browser.get("/docs", headers={"cookie": cookie}).status_code == 200
    assert browser.get("/console/", headers={"cookie": cookie}).status_code == 302
    assert session_user(session_key({b"cookie": cookie.encode()})) is None  # as of a socket


ERROR_PAGES = {
    400: ("/console/?next=%00", "无法处理此请求"),
    403: ("/admin/tenants/apikey/", "您无权打开此页面"),
    500: ("/broken", "服务器出错"),
}


@pytest.mark.case("admin.19")
@pytest.mark.urls("tests.site.harness.failing_urls")
@pytest.mark.parametrize("status", ERROR_PAGES)
def test_every_error_page_is_translated(staff: Client, status: int) -> None:
    address, words = ERROR_PAGES[status]
    response = staff.get(address, headers={"accept-language": "zh-hans"})
    text = response.content.decode()
    assert response.status_code == status
    assert words in text
    assert '<html lang="zh-hans"' in text


@pytest.mark.case("admin.4")
def test_the_reference_shows_both_documents_with_files_of_this_site(browser: Client) -> None:
    for address in ("/docs", "/docs/"):
        text = browser.get(address).content.decode()
        assert 'data-document="/openapi.json"' in text
        assert 'data-document="/api/admin/v1/openapi.json"' in text
        assert "://" not in text.replace("http://testserver/v1", "").replace("http://www.w3.org/2000/svg", "")
        assert "<style" not in text


@pytest.mark.case("admin.4")
def test_the_icon_and_the_admin_without_a_slash_lead_on(browser: Client) -> None:
    assert browser.get("/favicon.ico")["Location"] == "/static/cyllm_site/favicon.svg"
    assert browser.get("/admin")["Location"] == "/admin/"


@pytest.mark.case("admin.4")
@pytest.mark.parametrize("address", ["/v1", "/v1/"])
def test_the_base_url_of_the_api_points_to_the_reference(port: int, address: str) -> None:
    response = httpx.get(f"http://127.0.0.1:{port}{address}")
    assert (response.status_code, response.json()["reference"]) == (200, "/docs")
    assert httpx.head(f"http://127.0.0.1:{port}{address}").status_code == 200
    assert httpx.post(f"http://127.0.0.1:{port}{address}").json()["error"]["code"] == "unknown_url"


@pytest.mark.criterion("6.2")
def test_errors_of_the_administrative_api_stay_json_for_browsers(port: int) -> None:
    response = httpx.get(f"http://127.0.0.1:{port}/api/admin/v1/tenants", headers={"accept": BROWSER})
    assert (response.status_code, response.json()["error"]["code"]) == (401, "missing_api_key")
    unknown = httpx.get(f"http://127.0.0.1:{port}/api/nothing", headers={"accept": BROWSER})
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "unknown_url")
    large = httpx.post(f"http://127.0.0.1:{port}/api/admin/v1/tenants", content=b"a" * 2_100_000)
    assert (large.status_code, large.json()["error"]["code"]) == (413, "request_too_large")


@pytest.mark.criterion("6.8")
@pytest.mark.parametrize(
    "address", ["/", "/docs", "/nothing", "/admin/login/", "/console/sign-in/", "/static/no.css"]
)
def test_every_page_has_a_policy_without_inline_scripts_and_styles(browser: Client, address: str) -> None:
    policy = browser.get(address)["Content-Security-Policy"]
    assert "unsafe-inline" not in policy
    assert "default-src 'self'" in policy
    assert ("unsafe-eval" in policy) is address.startswith("/admin/")


@pytest.mark.criterion("6.7")
@pytest.mark.urls("tests.site.harness.failing_urls")
@pytest.mark.parametrize(
    ("address", "status", "reason"),
    [("/broken", 500, "GET broken failed"), ("/suspicious", 400, "was refused: SuspiciousFileOperation")],
)
def test_a_failure_is_logged_with_its_trace_but_without_any_text_of_the_client(
    browser: Client, caplog: pytest.LogCaptureFixture, address: str, status: int, reason: str
) -> None:
    assert browser.get(address, {"q": "secret"}).status_code == status
    lines = [TextFormatter().format(record) for record in caplog.records]
    assert len(lines) == 1
    assert reason in lines[0]
    assert "secret" not in lines[0]
    if status == 500:
        assert "failing_urls.py" in lines[0], "the trace"


@pytest.mark.criterion("6.7")
def test_a_form_without_its_token_is_logged_without_the_headers_at_fault(
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = Client(enforce_csrf_checks=True, headers={"accept": BROWSER})
    for options in (
        {"headers": {"origin": "https://canary.example"}},
        {"headers": {"referer": "https://canary.example/?q=1"}, "secure": True},
    ):
        assert client.post("/console/canary/jobs/", {"q": "canary"}, **options).status_code == 403
    lines = [TextFormatter().format(record) for record in caplog.records]
    assert [line.partition(" was refused: ")[2] for line in lines] == [
        "Origin checking failed",
        "Referer checking failed",
    ]
    assert "canary" not in "".join(lines)


@pytest.mark.criterion("6.7")
async def test_a_failed_socket_is_logged_without_the_message_of_its_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object) -> None:
        raise ValueError(CANARY)

    site = asgi.Site()
    monkeypatch.setattr(site, "_gateway", Mock())
    monkeypatch.setattr(asgi, "serve_socket", fail)
    await site.websocket({}, AsyncMock(), AsyncMock())
    [line] = [TextFormatter().format(record) for record in caplog.records]
    assert "a socket failed" in line
    assert "ValueError" in line
    assert CANARY not in line
