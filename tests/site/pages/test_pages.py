"""Django's pages and static files through the ASGI application."""

from __future__ import annotations

import httpx
import pytest

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def site() -> httpx.AsyncClient:
    """A client of the whole ASGI application."""
    from cyllm_site.asgi import application

    transport = httpx.ASGITransport(app=application)
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")


@pytest.mark.parametrize(("language", "word"), [("en", "Sign in"), ("zh-hans", "登录")])
async def test_the_login_page_is_available_in_english_and_chinese(
    site: httpx.AsyncClient, language: str, word: str
) -> None:
    page = await site.get("/admin/login/", headers={"accept-language": language})
    assert page.status_code == 200
    assert word in page.text


async def test_static_files_support_ranges(site: httpx.AsyncClient) -> None:
    whole = await site.get("/static/unfold/css/styles.css")
    assert whole.headers["content-type"].startswith("text/css")
    part = await site.get("/static/unfold/css/styles.css", headers={"range": "bytes=0-9"})
    assert (part.status_code, part.content) == (206, whole.content[:10])
    assert (await site.get("/static/../manage.py")).status_code == 404
