"""Sign-in with a second factor, for the admin and the console alike, and the ends of sessions."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from importlib import import_module
from io import StringIO
from typing import Any
from unittest import mock

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.http import HttpResponse
from django.test import Client
from django_otp.oath import totp
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice

from api.console.live.admission import session_user
from cyllm_site.sign_in import second_factor
from tenants.models import AdminAudit
from tests.concurrency import during
from tests.people import PASSWORD, Cast

pytestmark = [pytest.mark.django_db, pytest.mark.criterion("6.5")]

ADMIN, CONSOLE = "/admin/login/", "/console/sign-in/"
CODE, ENROL = "/console/sign-in/code/", "/console/sign-in/enrol/"


@pytest.fixture(autouse=True)
def required() -> Iterator[None]:
    """A site that requires a second factor of its staff."""
    with mock.patch.object(settings, "REQUIRE_TWO_FACTOR", True):
        yield


@pytest.fixture
def boss(db: None) -> User:
    """An administrator without a second factor."""
    return User.objects.create_superuser("boss", password=PASSWORD)


def code_of(user: User, steps: int = 0) -> str:
    """Return the code that the person's app shows, or the one some steps later."""
    key = TOTPDevice.objects.get(user=user).bin_key
    return f"{totp(key, drift=steps):06d}"


def password_step(client: Client, page: str = ADMIN, name: str = "boss", target: str = "") -> HttpResponse:
    """Give the right password."""
    form = {"username": name, "password": PASSWORD} | ({"next": target} if target else {})
    return client.post(page, form)  # type: ignore[return-value]


def is_signed_in(client: Client) -> bool:
    """Return whether the client's session belongs to a person."""
    return "_auth_user_id" in client.session


def enrol(client: Client, user: User) -> list[str]:
    """Confirm an app after the password, and return the recovery codes."""
    client.get(ENROL)
    page = client.post(ENROL, {"code": code_of(user)})
    return list(page.context["codes"])


@pytest.fixture
def recovery_codes(boss: User) -> list[str]:
    """Recovery codes of the administrator, who now has a second factor."""
    client = Client()
    password_step(client)
    codes = enrol(client, boss)
    # A code is valid once: the next sign-in of a test takes a later one.
    TOTPDevice.objects.update(last_t=-1)
    return codes


@pytest.mark.parametrize("page", [ADMIN, CONSOLE])
def test_staff_without_a_second_factor_set_one_up_before_they_are_signed_in(boss: User, page: str) -> None:
    client = Client()
    answer = password_step(client, page, target="/admin/tenants/apikey/")
    assert (answer.status_code, answer["Location"]) == (302, ENROL)
    assert not is_signed_in(client)
    assert client.get("/admin/").status_code == 302
    enrol_page = client.get(ENROL)
    text = enrol_page.content.decode()
    secret = base64.b32encode(TOTPDevice.objects.get(user=boss).bin_key).decode()
    assert secret in text
    assert "<svg" in text
    assert "style=" not in text
    assert "no-store" in enrol_page["Cache-Control"]
    assert client.post(ENROL, {"code": "000000"}).status_code == 200
    assert not is_signed_in(client)
    TOTPDevice.objects.update(throttling_failure_count=0, throttling_failure_timestamp=None)
    response = client.post(ENROL, {"code": code_of(boss)})
    assert len(response.context["codes"]) == second_factor.RECOVERY_CODES
    assert response.context["target"] == "/admin/tenants/apikey/"
    assert is_signed_in(client)
    assert client.get("/admin/").status_code == 200
    actions = set(AdminAudit.objects.values_list("action", flat=True))
    assert {"two_factor.enrol", "two_factor.codes", "sign_in.fail"} <= actions


@pytest.mark.parametrize("page", [ADMIN, CONSOLE])
@pytest.mark.usefixtures("recovery_codes")
def test_the_second_step_asks_for_a_code_that_is_valid_once(boss: User, page: str) -> None:
    client, second = Client(), Client()
    assert password_step(client, page)["Location"] == CODE
    assert client.get("/admin/").status_code == 302
    code = code_of(boss)
    assert client.post(CODE, {"code": f"{code[:3]} {code[3:]}"}).status_code == 302
    assert is_signed_in(client)
    password_step(second, page)
    assert "wrong or has been used" in second.post(CODE, {"code": code}).content.decode()
    assert not is_signed_in(second)


def test_a_recovery_code_replaces_the_app_once_and_is_not_stored(
    boss: User, recovery_codes: list[str]
) -> None:
    hashes = set(StaticToken.objects.values_list("token", flat=True))
    assert hashes.isdisjoint(recovery_codes)
    assert hashes.isdisjoint(code.replace("-", "") for code in recovery_codes)
    for attempt in range(2):
        client = Client()
        password_step(client)
        client.post(CODE, {"code": recovery_codes[0].upper()})
        assert is_signed_in(client) is (attempt == 0)
    use = AdminAudit.objects.get(action="two_factor.recovery")
    assert (use.actor, use.after) == ("user:boss", {"codes_left": second_factor.RECOVERY_CODES - 1})


@pytest.mark.usefixtures("recovery_codes")
def test_wrong_codes_lock_the_client_like_wrong_passwords(boss: User) -> None:
    client = Client()
    password_step(client)
    statuses = [client.post(CODE, {"code": "000000"}).status_code for _ in range(settings.AXES_FAILURE_LIMIT)]
    assert statuses[-1] == 429
    TOTPDevice.objects.update(throttling_failure_count=0, throttling_failure_timestamp=None)
    assert client.post(CODE, {"code": code_of(boss)}).status_code == 429
    assert client.get(CODE).status_code == 429
    assert password_step(Client()).status_code == 429
    assert AdminAudit.objects.filter(action="sign_in.lock").exists()


@pytest.mark.usefixtures("recovery_codes")
def test_the_right_code_waits_after_a_wrong_one(boss: User) -> None:
    client = Client()
    password_step(client)
    client.post(CODE, {"code": "000000"})
    assert client.post(CODE, {"code": code_of(boss)}).status_code == 200
    assert not is_signed_in(client)


@pytest.mark.usefixtures("recovery_codes")
def test_the_password_step_ends_after_ten_minutes_and_with_the_password(boss: User) -> None:
    client = Client()
    password_step(client)
    with mock.patch("cyllm_site.sign_in.pending.time.time", return_value=time.time() + 601):
        assert client.get(CODE)["Location"] == CONSOLE
    assert client.get(CODE).status_code == 200
    boss.set_password("another correct horse")
    boss.save()
    assert client.get(CODE)["Location"] == CONSOLE
    assert Client().get(CODE)["Location"] == CONSOLE


def test_who_has_the_password_can_not_enrol_another_app(boss: User, recovery_codes: list[str]) -> None:
    client = Client()
    password_step(client)
    assert client.get(ENROL).status_code == 302
    assert client.post(ENROL, {"code": "000000"}).status_code == 302
    assert TOTPDevice.objects.filter(user=boss).count() == 1


def test_members_sign_in_with_the_password_alone_unless_they_have_a_second_factor(cast: Cast) -> None:
    client = Client()
    assert password_step(client, CONSOLE, "member")["Location"] == "/console/"
    assert is_signed_in(client)
    assert "no second factor" in client.get("/console/two-factor/").content.decode()
    codes = enrol(client, cast.member)
    again = Client()
    assert password_step(again, CONSOLE, "member")["Location"] == CODE
    assert again.post(CODE, {"code": codes[0]})["Location"] == "/console/"
    change_reply = again.post("/console/two-factor/change/", {"code": codes[1], "change": "codes"})
    assert set(change_reply.context["codes"]).isdisjoint(codes)
    new_codes = change_reply.context["codes"]
    page = again.post("/console/two-factor/change/", {"code": "wrong", "change": "remove"})
    assert "wrong or has been used" in page.content.decode()
    StaticDevice.objects.update(throttling_failure_count=0, throttling_failure_timestamp=None)
    again.post("/console/two-factor/change/", {"code": new_codes[0], "change": "remove"})
    assert not second_factor.is_enrolled(cast.member)


@pytest.mark.usefixtures("recovery_codes")
def test_staff_can_not_remove_a_required_second_factor(boss: User, recovery_codes: list[str]) -> None:
    client = Client()
    password_step(client)
    client.post(CODE, {"code": recovery_codes[0]})
    client.post("/console/two-factor/change/", {"code": recovery_codes[1], "change": "remove"})
    assert second_factor.is_enrolled(boss)


def test_a_session_without_the_required_second_factor_ends(boss: User) -> None:
    client = Client()
    with mock.patch.object(settings, "REQUIRE_TWO_FACTOR", False):
        assert password_step(client).status_code == 302
        assert client.get("/admin/").status_code == 200
        session_key = client.session.session_key or ""
        assert session_user(session_key) == boss
    assert session_user(session_key) is None, "sockets and uploads ask for it"
    assert client.get("/admin/").status_code == 302
    assert not is_signed_in(client)


@pytest.mark.case("admin.12")
def test_a_member_learns_that_the_account_has_no_rights_in_the_admin(cast: Cast) -> None:
    text = password_step(Client(), ADMIN, "member").content.decode()
    assert "This account has no rights in the administration." in text
    wrong = Client().post(ADMIN, {"username": "member", "password": "wrong"}).content.decode()
    assert "no rights" not in wrong


@pytest.mark.case("admin.12")
def test_a_signed_in_member_learns_why_the_admin_asks_to_sign_in(cast: Cast) -> None:
    client = Client()
    client.force_login(cast.member)
    text = client.get("/admin/", follow=True).content.decode()
    assert "You are signed in as member, who may not open this page." in text
    assert 'href="/console/"' in text
    again = password_step(client, ADMIN, "member").content.decode()
    assert again.count("You are signed in as member") == 1
    stranger = Client().get(ADMIN).content.decode()
    assert "You are signed in as" not in stranger
    assert 'href="/console/"' not in stranger


@pytest.mark.usefixtures("recovery_codes")
def test_an_operator_removes_a_lost_second_factor(boss: User) -> None:
    call_command("sign_ins", "reset-two-factor", "boss", stdout=StringIO())
    assert not second_factor.is_enrolled(boss)
    assert AdminAudit.objects.get(action="two_factor.remove").actor.startswith("cli:")
    with pytest.raises(CommandError, match="no second factor"):
        call_command("sign_ins", "reset-two-factor", "boss")


def test_second_factors_have_no_pages_in_the_admin(boss: User) -> None:
    client = Client()
    client.force_login(boss)
    assert client.get("/admin/otp_totp/totpdevice/").status_code in {302, 404}
    assert not any("otp" in str(model._meta.app_label) for model in _registered())


def _registered() -> list[Any]:
    from django.contrib import admin

    return list(admin.site._registry)


def session_row(client: Client) -> Session:
    """Return the stored session of a client."""
    return Session.objects.get(session_key=client.cookies["sessionid"].value)


def test_a_session_has_a_new_key_after_sign_in_and_ends_after_idle_time_and_at_its_greatest_age(
    cast: Cast,
) -> None:
    client = Client()
    client.get(CONSOLE)
    client.session["probe"] = 1
    anonymous = client.session
    anonymous["probe"] = 1
    anonymous.save()
    key = anonymous.session_key
    password_step(client, CONSOLE, "member")
    assert client.session.session_key != key
    start = time.time()
    idle_s, max_s = settings.CYLLM.session_idle_s, settings.CYLLM.session_max_s
    left_s = session_row(client).expire_date.timestamp() - start
    assert idle_s - 60 < left_s < idle_s + 60
    late = start + max_s - 100
    with mock.patch("cyllm_site.sign_in.sessions.time.time", return_value=late):
        client.get("/console/two-factor/")
    assert 0 < session_row(client).expire_date.timestamp() - start <= 160
    with mock.patch("cyllm_site.sign_in.sessions.time.time", return_value=start + max_s + 1):
        assert client.get("/console/two-factor/").status_code == 302
    assert not is_signed_in(client)


def test_a_changed_password_ends_every_session(cast: Cast) -> None:
    first, second = Client(), Client()
    for client in (first, second):
        password_step(client, CONSOLE, "member")
        assert client.get("/console/two-factor/").status_code == 200
    cast.member.set_password("another correct horse")
    cast.member.save()
    for client in (first, second):
        assert client.get("/console/two-factor/").status_code == 302


def test_an_idle_session_ends(cast: Cast) -> None:
    client = Client()
    password_step(client, CONSOLE, "member")
    Session.objects.update(expire_date="2026-01-01T00:00:00Z")
    assert client.get("/console/two-factor/").status_code == 302
    assert import_module(settings.SESSION_ENGINE).SessionStore(client.cookies["sessionid"].value).load() == {}


@pytest.mark.django_db(transaction=True)
def test_two_pages_that_are_opened_at_once_show_one_secret(boss: User) -> None:
    client = Client()
    password_step(client)
    page = during(lambda: second_factor.enrolment_begin(boss), lambda: client.get(ENROL))
    assert page.status_code == 200
    secret = second_factor.enrolment_begin(boss).secret
    assert page.context["enrolment"].secret == secret
    assert TOTPDevice.objects.count() == 1
