"""The id of a request is in its answer, and in the administrative changes that it makes."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core.management import call_command
from django.db import transaction

from cyllm_site.pages.application import Pages
from tenants.audit_trail.changes import admin_audit_record
from tenants.models import AdminAudit

pytestmark = [pytest.mark.django_db, pytest.mark.criterion("6.10")]


@transaction.atomic
def change() -> None:
    admin_audit_record(actor="tests", action="a.b", object_id="1", object_name="x", after={})


async def changing_application(scope: Any, receive: Any, send: Any) -> None:
    """Make a change in a thread, as Django's views do."""
    await sync_to_async(change)()
    headers = [(b"content-type", b"text/html"), (b"X-Request-Id", b"theirs")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"done"})


def test_a_change_has_the_id_of_the_request_that_made_it() -> None:
    async def request() -> list[httpx.Response]:
        pages: Any = Pages(changing_application, 1000, 10.0)
        transport = httpx.ASGITransport(pages)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            return [await http.get("/console/", headers={"X-Request-Id": "mine"}) for _ in range(2)]

    answers = async_to_sync(request)()
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert ids == list(AdminAudit.objects.order_by("id").values_list("request_id", flat=True))
    assert all(each.startswith("req_") for each in ids)
    assert len(set(ids)) == 2
    change()
    assert AdminAudit.objects.latest("id").request_id == "", "no request is being handled any more"


def test_the_changes_of_a_command_have_one_id_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("tenants", "create", "one")
    call_command("keys", "create", "--tenant", "one", "--name", "ci")
    first, second = AdminAudit.objects.order_by("id")
    assert first.request_id.startswith("cmd_")
    assert first.request_id != second.request_id
    capsys.readouterr()
    call_command("audit", "changes", "--tenant", "one", "--json")
    rows = json.loads(capsys.readouterr().out)
    assert [row["request_id"] for row in rows] == [second.request_id, first.request_id]
