"""Uploads of datasets on the console's pages, through the real server."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client

from api.console.pages import files as pages
from tenants.files.models import StoredFile
from tenants.files.storage import incoming
from tenants.files.storage.incoming import IncomingFile, incoming_sweep
from tenants.models import AdminAudit
from tenants.services import tenant_update
from tests.gateway.harness.threads import in_thread
from tests.people import Cast
from training.datasets.report import DatasetReport

pytestmark = pytest.mark.django_db(transaction=True)
TOKEN = "c" * 32
LINE = json.dumps(
    {"messages": [{"role": "user", "content": "x" * 9000}, {"role": "assistant", "content": "Yes."}]}
)
LARGE = "".join(LINE.replace("xx", f"{number:02d}", 1) + "\n" for number in range(1000)).encode()


async def _upload(
    port: int, user: User | None, content: bytes, query: str = "name=a.jsonl"
) -> httpx.Response:
    cookies = {settings.CSRF_COOKIE_NAME: TOKEN}
    if user is not None:
        client = Client()
        await in_thread(lambda: client.force_login(user))
        cookies[settings.SESSION_COOKIE_NAME] = client.cookies[settings.SESSION_COOKIE_NAME].value
    async with httpx.AsyncClient(cookies=cookies, timeout=60) as browser:
        return await browser.post(
            f"http://127.0.0.1:{port}/console/acme/files/upload/?{query}",
            content=content,
            headers={"x-csrftoken": TOKEN, "content-type": "application/octet-stream", "accept": "text/html"},
        )


async def test_a_file_larger_than_other_bodies_is_stored_with_its_report(
    site_server: int, cast: Cast
) -> None:
    assert len(LARGE) > settings.CYLLM.max_body_bytes
    answer = await _upload(site_server, cast.member, LARGE)
    assert answer.status_code == 200, answer.text
    file = await in_thread(lambda: StoredFile.objects.get(id=answer.json()["id"]))
    assert (file.filename, file.size_bytes, file.tenant_id) == ("a.jsonl", len(LARGE), cast.acme.id)
    assert file.dataset_report is not None
    assert file.dataset_report["examples"] == 1000
    audit = await in_thread(lambda: AdminAudit.objects.get(action="file.create"))
    assert audit.actor == "user:member"


@pytest.mark.parametrize(
    ("copies", "text"),
    [(2, "3 repeats 2, 4 repeats 2</dd>"), (12, "11 repeats 2, 12 repeats 2, …</dd>")],
)
async def test_the_page_of_a_file_names_the_first_lines_of_duplicates(
    site_server: int, cast: Cast, copies: int, text: str
) -> None:
    other = LINE.replace("Yes", "No")
    content = "\n".join([LINE, *[other] * (copies + 1)]).encode()
    answer = (await _upload(site_server, cast.member, content)).json()
    assert text in answer["html"]
    client = Client()
    await in_thread(lambda: client.force_login(cast.member))
    page = await in_thread(lambda: client.get(answer["address"]))
    assert text in page.content.decode()


async def test_without_a_session_large_bodies_are_refused_before_they_are_read(
    site_server: int, cast: Cast
) -> None:
    answer = await _upload(site_server, None, LARGE)
    assert answer.status_code == 413


@pytest.mark.case("serving.13")
async def test_strangers_and_viewers_store_nothing(site_server: int, cast: Cast) -> None:
    from tenants.members.services import membership_set

    small = LARGE[: LARGE.index(b"\n") + 1]
    assert (await _upload(site_server, cast.stranger, small)).status_code == 404
    await in_thread(lambda: membership_set(tenant=cast.acme, user=cast.member, role="viewer", actor="tests"))
    assert (await _upload(site_server, cast.member, small)).status_code == 403
    assert await in_thread(StoredFile.objects.count) == 0


async def test_other_purposes_and_faulty_files_are_refused(site_server: int, cast: Cast) -> None:
    answer = await _upload(site_server, cast.member, LARGE[:9100], "name=a&purpose=batch_output")
    assert answer.status_code == 422
    faulty = await _upload(site_server, cast.member, b'{"messages": 5}\n', "name=b.jsonl")
    assert faulty.status_code == 422
    assert re.search('<th scope="row" class="number"[^>]*>1</th>', faulty.json()["html"])
    assert "Correct these lines, then upload the file again." in faulty.json()["html"]
    table = await _upload(site_server, cast.member, b"Question,Answer\nWho,Me\n", "name=c.csv")
    assert "No line is an example in a known format." in table.json()["html"]
    assert await in_thread(StoredFile.objects.count) == 0


async def test_a_file_that_exceeds_a_limit_is_refused_with_the_limit_and_the_remedy(
    site_server: int, cast: Cast
) -> None:
    await in_thread(lambda: tenant_update(tenant_id=cast.acme.id, actor="tests", stored_bytes=10 * 1024))
    small = LARGE[: LARGE.index(b"\n") + 1]
    answers = [await _upload(site_server, cast.member, content) for content in (small, small, LARGE)]
    assert [answer.status_code for answer in answers] == [200, 422, 422]
    assert [answer.json().get("error") for answer in answers[1:]] == [
        "The files of the tenant can have at most 10 KiB. Delete some first.",
        "The file exceeds the limit for all files of the tenant, 10 KiB. Upload a smaller one.",
    ]


def test_an_upload_of_a_killed_process_is_deleted_by_the_sweep(
    client: Client, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths: list[Path] = []

    def interrupted(path: Path) -> DatasetReport:
        paths.append(path)
        assert incoming_sweep(path.parent) == 0, "a living process holds it"
        raise SystemExit

    monkeypatch.setattr(incoming, "MIN_AGE_S", -1)
    monkeypatch.setattr(pages, "upload_report", interrupted)
    monkeypatch.setattr(IncomingFile, "discard", lambda file: file._file.close())  # as the kernel does
    client.force_login(cast.member)
    with pytest.raises(SystemExit):
        client.post(
            "/console/acme/files/upload/?name=a.jsonl", LARGE, content_type="application/octet-stream"
        )
    assert paths[0].read_bytes() == LARGE
    assert incoming_sweep(paths[0].parent) == 1
    assert not paths[0].exists()
