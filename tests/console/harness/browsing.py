"""Windows of a browser in which a person is signed in, without the form."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from tests.browser import Visit, begin_visit, open_browser
from tests.gateway.harness.threads import in_thread
from tests.people import session_key

if TYPE_CHECKING:  # pytest imports this before Django is set up
    from django.contrib.auth.models import User
    from playwright.async_api import Browser

WIDTHS = (375, 768, 1440)


@asynccontextmanager
async def visit(port: int, user: User | None, **options: Any) -> AsyncIterator[Visit]:
    """Run Chromium with one window, in which a person is signed in, or nobody."""
    async with open_browser() as browser:
        yield await visit_as(browser, port, user, **options)


async def visit_as(browser: Browser, port: int, user: User | None, **options: Any) -> Visit:
    """Open a window in which a person is signed in, or nobody. ``options``: of Playwright's context."""
    address = f"http://127.0.0.1:{port}"
    context = await browser.new_context(
        **{"viewport": {"width": 1440, "height": 900}, "locale": "en-US", **options}
    )
    if user is not None:
        key = await in_thread(lambda: session_key(user))
        cookies: Sequence[Any] = [{"name": "sessionid", "value": key, "url": address}]
        await context.add_cookies(cookies)
    return await begin_visit(context, address)
