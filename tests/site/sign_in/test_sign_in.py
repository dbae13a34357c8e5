"""Failed sign-ins to the admin are counted per account and address, and lock the client out."""

from __future__ import annotations

import datetime as dt
import json
import time
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from typing import Any
from unittest import mock

import httpx
import pytest
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db.models import F
from django.http import HttpResponseBase
from django.test import Client

from api.gateway.http.client_ip import network_address
from cyllm_site.settings.env import Settings
from cyllm_site.sign_in.address_locks import MAX_WAITING, NamedLocks
from tenants.models import AdminAudit
from tests.patience import PATIENCE_S
from tests.people import PASSWORD

pytestmark = [pytest.mark.django_db, pytest.mark.case("robustness.13")]

OFFICE, ATTACKER = "192.0.2.1", "198.51.100.7"
LIMIT, ADDRESS_LIMIT = 3, 7


@pytest.fixture(autouse=True)
def _limits(settings: Any) -> None:
    limits = {"sign_in_failures": LIMIT, "sign_in_failures_per_address": ADDRESS_LIMIT}
    site: Settings = settings.CYLLM.model_copy(update=limits)
    settings.CYLLM, settings.AXES_FAILURE_LIMIT = site, LIMIT


@pytest.fixture(autouse=True)
def boss(db: None) -> User:
    """The administrator under attack."""
    return User.objects.create_superuser("boss", password=PASSWORD)


def sign_in(name: str, password: str, address: str = OFFICE, **headers: str) -> HttpResponseBase:
    """Post the sign-in form from an address, with a new session."""
    form = {"username": name, "password": password}
    return Client(REMOTE_ADDR=address).post("/admin/login/", form, **headers)  # type: ignore[arg-type]


def fail(times: int, name: str = "boss", address: str = OFFICE) -> list[int]:
    """Sign in with wrong passwords and return the statuses."""
    return [sign_in(name, f"wrong {number}", address).status_code for number in range(times)]


def test_the_right_password_after_too_many_wrong_ones_waits_for_the_lock() -> None:
    assert fail(LIMIT + 2) == [200, 200, 429, 429, 429]
    response = sign_in("boss", PASSWORD)
    assert response.status_code == 429
    assert 880 <= int(response["Retry-After"]) <= 900
    assert "sessionid" not in response.cookies
    AccessAttempt.objects.update(attempt_time=F("attempt_time") - dt.timedelta(seconds=901))
    assert sign_in("boss", PASSWORD).status_code == 302


def test_attempts_during_a_lock_do_not_extend_it() -> None:
    fail(LIMIT)
    AccessAttempt.objects.update(attempt_time=F("attempt_time") - dt.timedelta(seconds=600))
    fail(4)
    assert int(sign_in("boss", PASSWORD)["Retry-After"]) <= 300


def test_nobody_locks_an_account_at_another_address() -> None:
    assert fail(LIMIT, address=ATTACKER)[-1] == 429
    assert sign_in("boss", PASSWORD, OFFICE).status_code == 302


def test_an_address_is_locked_after_failures_with_many_accounts() -> None:
    statuses = [sign_in(f"name{number}", "wrong", ATTACKER).status_code for number in range(ADDRESS_LIMIT)]
    assert statuses == [200] * (ADDRESS_LIMIT - 1) + [429]
    assert sign_in("boss", PASSWORD, ATTACKER).status_code == 429
    assert sign_in("boss", PASSWORD, OFFICE).status_code == 302


def test_signing_in_with_an_own_account_does_not_reset_the_failures_of_the_address() -> None:
    User.objects.create_user("mallory", password=PASSWORD, is_staff=True)
    guesses = [status for _ in range(3) for status in (*fail(1, address=ATTACKER), *_own_sign_in())]
    assert guesses == [200, 302, 200, 302, 429, 302]
    others = [sign_in(f"name{number}", "wrong", ATTACKER).status_code for number in range(4)]
    assert others[-1] == 429
    assert _own_sign_in() == [429]


def _own_sign_in() -> list[int]:
    return [sign_in("mallory", PASSWORD, ATTACKER).status_code]


def test_a_successful_sign_in_forgets_the_own_failures() -> None:
    fail(LIMIT - 1)
    assert sign_in("boss", PASSWORD).status_code == 302
    assert fail(LIMIT - 1) == [200, 200]


def test_neither_user_agents_nor_forged_addresses_evade_the_limit() -> None:
    for number in range(LIMIT):
        headers = {"HTTP_USER_AGENT": f"agent {number}", "HTTP_X_FORWARDED_FOR": f"203.0.113.{number}"}
        last = sign_in("boss", "wrong", ATTACKER, **headers)
    assert last.status_code == 429


def test_behind_a_proxy_the_address_that_it_reports_counts() -> None:
    with mock.patch.object(settings, "CYLLM", settings.CYLLM.model_copy(update={"trusted_proxies": 1})):
        for number in range(LIMIT):
            forwarded_for = f"203.0.113.{number}, {ATTACKER}"
            last = sign_in("boss", "wrong", "127.0.0.1", HTTP_X_FORWARDED_FOR=forwarded_for)
        assert last.status_code == 429
        office = sign_in("boss", PASSWORD, "127.0.0.1", HTTP_X_FORWARDED_FOR=OFFICE)
        assert office.status_code == 302
    assert AdminAudit.objects.filter(action="sign_in.lock").get().actor == f"address:{ATTACKER}"


def test_addresses_of_one_ipv6_network_count_together() -> None:
    statuses = [sign_in("boss", "wrong", f"2001:db8:0:1::{number}").status_code for number in range(LIMIT)]
    assert statuses[-1] == 429
    assert sign_in("boss", PASSWORD, "2001:db8:0:2::1").status_code == 302
    assert sign_in("boss", "wrong", "::ffff:192.0.2.9").status_code == 200
    assert AccessAttempt.objects.filter(ip_address="192.0.2.9").exists()
    assert network_address("2001:db8::1:2:3:4") == "2001:db8::"


@pytest.mark.parametrize(
    ("language", "title"), [("en", "Too many failed sign-ins"), ("zh-hans", "登录失败次数过多")]
)
def test_the_page_of_a_lock_is_available_in_english_and_chinese(language: str, title: str) -> None:
    fail(LIMIT)
    page = sign_in("boss", PASSWORD, HTTP_ACCEPT_LANGUAGE=language)
    assert isinstance(page, HttpResponseBase)
    text = page.content.decode()  # type: ignore[attr-defined]
    assert title in text
    assert "15" in text
    assert 'href="/admin/login/"' in text
    console = Client(REMOTE_ADDR=OFFICE).post("/console/sign-in/", {"username": "boss", "password": PASSWORD})
    assert console.status_code == 429
    assert 'href="/console/sign-in/"' in console.content.decode()


def test_the_trail_names_failures_and_locks_once_without_passwords(boss: User) -> None:
    fail(LIMIT + 5)
    sign_in("hunter2-typed-here", "secret", ATTACKER)
    rows = list(AdminAudit.objects.order_by("id").values_list("actor", "action", "object_id", "object_name"))
    failure = (f"address:{OFFICE}", "sign_in.fail", str(boss.pk), "boss")
    lock = (f"address:{OFFICE}", "sign_in.lock", str(boss.pk), "boss")
    assert sorted(rows[: LIMIT + 1]) == sorted([*[failure] * LIMIT, lock])
    assert rows[LIMIT + 1 :] == [(f"address:{ATTACKER}", "sign_in.fail", "", "hun…")]
    everything = json.dumps(list(AdminAudit.objects.values()), default=str)
    everything += json.dumps(list(AccessAttempt.objects.values("get_data", "post_data")), default=str)
    assert "wrong" not in everything
    assert "secret" not in everything


def test_the_command_shows_and_unlocks_clients() -> None:
    fail(LIMIT)
    fail(LIMIT, address=ATTACKER)
    assert [row["failures"] for row in json.loads(_command("list", "--json"))] == [LIMIT, LIMIT]
    assert "1 record of failed sign-ins" in _command("unlock", "--user", "boss", "--address", OFFICE)
    assert sign_in("boss", PASSWORD, OFFICE).status_code == 302
    assert sign_in("boss", PASSWORD, ATTACKER).status_code == 429
    (unlock,) = AdminAudit.objects.filter(action="sign_in.unlock")
    assert unlock.object_name == f"boss, {OFFICE}"
    with pytest.raises(CommandError, match="--user"):
        _command("unlock")


def _command(*arguments: str) -> str:
    output = StringIO()
    call_command("sign_ins", *arguments, stdout=output)
    return output.getvalue()


@pytest.mark.django_db(transaction=True)
def test_parallel_attempts_do_not_pass_the_limit_together(port: int) -> None:
    limit = settings.CYLLM.__class__.model_fields["sign_in_failures"].default
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) as browser:
        browser.get("/admin/login/")
        form = {
            "username": "boss",
            "password": "wrong",
            "csrfmiddlewaretoken": browser.cookies["csrftoken"],
        }
        with ThreadPoolExecutor(20) as threads:
            posts = [threads.submit(browser.post, "/admin/login/", data=form) for _ in range(20)]
            statuses = [post.result().status_code for post in posts]
        as_json = browser.post("/admin/login/", data=form, headers={"accept": "application/json"})
    assert set(statuses) == {200, 429}
    assert statuses.count(200) < limit
    assert AdminAudit.objects.filter(action="sign_in.fail").count() <= limit
    while as_json.headers["retry-after"] == "1":
        as_json = browser.post("/admin/login/", data=form, headers={"accept": "application/json"})
    assert as_json.status_code == 429
    assert as_json.json()["error"]["code"] == "too_many_sign_ins"
    assert int(as_json.headers["retry-after"]) > 800


def test_a_lock_ends_with_its_context_and_few_may_wait_for_it() -> None:
    locks = NamedLocks()
    with locks.hold("a") as first, locks.hold("b") as other:
        assert (first, other) == (True, True)
        with locks.hold("a", timeout_s=0.01) as second:
            assert not second
    with locks.hold("a") as third:
        assert third

    def hold() -> bool:
        with locks.hold("a", timeout_s=60) as is_held:
            return is_held

    with ThreadPoolExecutor(MAX_WAITING) as pool:
        with locks.hold("a"):
            waiting = [pool.submit(hold) for _ in range(MAX_WAITING)]
            while locks._waiting["a"] < MAX_WAITING:
                time.sleep(0.001)
            assert not hold()  # at once: nobody else lets go of it before
        assert all(each.result() for each in waiting)
