"""Pages and static files through the ASGI entry point: what is not the API goes to Django."""

from __future__ import annotations

import httpx
import pytest

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def site() -> httpx.AsyncClient:
    """A browser in front of the whole ASGI application."""
    from cyllm_site.asgi import application

    transport = httpx.ASGITransport(app=application)
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")


@pytest.mark.parametrize(("language", "word"), [("en", "Log in"), ("zh-hans", "登录")])
async def test_the_login_page_speaks_english_and_chinese(
    site: httpx.AsyncClient, language: str, word: str
) -> None:
    page = await site.get("/admin/login/", headers={"accept-language": language})
    assert page.status_code == 200
    assert word in page.text


async def test_static_files_are_whole_and_a_part_can_be_asked_for(site: httpx.AsyncClient) -> None:
    whole = await site.get("/static/unfold/css/styles.css")
    assert whole.headers["content-type"].startswith("text/css")
    part = await site.get("/static/unfold/css/styles.css", headers={"range": "bytes=0-9"})
    assert (part.status_code, part.content) == (206, whole.content[:10])
    assert (await site.get("/static/../manage.py")).status_code == 404
