"""Large bodies of pages are received at a pace, which costs their clients no time."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest import mock

import pytest

from api.gateway.capacity.pace import TENANT_SHARE, Pace
from api.gateway.http.disconnect import Message
from api.openai.errors.access import ClientTimeout
from cyllm_site.middleware import body_limits
from cyllm_site.middleware.body_limits import BoundedBody
from cyllm_site.pages.application import Pages
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.case("robustness.1")


async def test_a_page_waits_for_its_pace_and_not_at_the_expense_of_its_client() -> None:
    sizes = [200_000, 200_000, 1]

    async def receive() -> Message:
        if not sizes:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": b"x" * sizes.pop(0), "more_body": True}

    with (
        mock.patch.object(body_limits, "_pace", Pace()),
        mock.patch.object(body_limits, "SOCKET_S_PER_BYTE", 0.3 * TENANT_SHARE / 200_000),
    ):
        body = BoundedBody(receive, limit=10**6, timeout_s=0.2)
        started_at = asyncio.get_running_loop().time()
        while sizes:
            await body()
        # Two pieces of 0.3 s, of which 0.1 s may be used in advance.
        assert asyncio.get_running_loop().time() - started_at > 0.45
        with pytest.raises(ClientTimeout):
            await body()


async def test_a_form_does_not_wait_behind_the_large_bodies_of_others() -> None:
    async def receive() -> Message:
        return {"type": "http.request", "body": b"username=x", "more_body": False}

    pace = Pace()
    pace.charge("", 3600.0)
    with mock.patch.object(body_limits, "_pace", pace):
        async with asyncio.timeout(PATIENCE_S):
            assert (await BoundedBody(receive, limit=100, timeout_s=5)())["body"] == b"username=x"


async def test_a_large_body_does_not_wait_behind_those_of_other_networks() -> None:
    body_sizes: list[int] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"x" * 900_000, "more_body": False}

    async def application(scope: Any, receive: Any, send: Any) -> None:
        body_sizes.append(len((await receive())["body"]))

    pages: Any = Pages(application, 10**6, 5.0, trusted_proxies=1)
    pace = Pace()
    pace.charge("192.0.2.1", 3600.0)
    pace.charge("2001:db8:1:2::", 3600.0)

    async def post(forwarded_for: bytes) -> None:
        fields = [(b"accept", b"text/html"), (b"x-forwarded-for", forwarded_for)]
        scope = {"type": "http", "path": "/", "headers": fields, "client": ("127.0.0.1", 1)}
        async with asyncio.timeout(0.5):
            await pages(scope, receive, None)

    with mock.patch.object(body_limits, "_pace", pace):
        await post(b"198.51.100.7")
        for busy in (b"192.0.2.1", b"2001:db8:1:2::7"):
            with pytest.raises(TimeoutError):
                await post(busy)
    assert body_sizes == [900_000]
