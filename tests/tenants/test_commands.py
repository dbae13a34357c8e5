"""``manage.py tenants``, ``keys``, ``usage`` and ``audit`` print tables for people and JSON for scripts."""

from __future__ import annotations

import datetime as dt
import io
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from inference_worker.protocol.messages import Outcome
from tenants.keys import selectors as key_selectors
from tenants.keys.secrets import key_matches, split_key
from tenants.ledger.drain import ledger_drain
from tenants.models import AdminAudit, ApiKey, AuditRecord, Tenant
from tests.commands import run, run_json
from tests.tenants.facts import end_fact, meter_fact, start_fact, write_facts

if TYPE_CHECKING:
    from tests.people import Cast

pytestmark = pytest.mark.django_db


def prefix_of(secret: str) -> str:
    prefix = split_key(secret)
    assert prefix is not None
    return prefix


def test_a_tenant_can_be_created_changed_and_listed() -> None:
    tenant = run_json("tenants", "create", "acme", "--name", "Acme Ltd")
    assert (tenant["slug"], tenant["name"], tenant["active"]) == ("acme", "Acme Ltd", True)
    assert "Tenant acme updated." in run("tenants", "update", "acme", "--inactive")
    (row,) = run_json("tenants", "list")
    assert (row["id"], row["active"], row["keys"]) == (tenant["id"], False, 0)
    assert AdminAudit.objects.filter(action="tenant.update", actor__startswith="cli:").count() == 1


def test_the_table_has_one_line_per_tenant(cast: Cast) -> None:
    lines = run("tenants", "list").splitlines()
    assert re.split(r"\s{2,}", lines[0]) == [
        "SLUG",
        "NAME",
        "ACTIVE",
        "TIER",
        "LIMITS",
        "CREATED AT",
        "ID",
        "KEYS",
    ]
    assert re.split(r"\s{2,}", lines[1])[:3] == ["acme", "Acme", "yes"]
    assert [line.split()[0] for line in lines[1:]] == ["acme", "globex"]


def test_members_can_be_listed_set_and_removed(cast: Cast) -> None:
    rows = run_json("tenants", "members", "acme", "--set", "stranger", "viewer")
    assert {row["user"]: row["role"] for row in rows} == {
        "owner": "owner",
        "member": "member",
        "stranger": "viewer",
    }
    rows = run_json("tenants", "members", "acme", "--remove", "stranger")
    assert [row["user"] for row in rows] == ["member", "owner"]
    with pytest.raises(CommandError, match=r"stranger is not a member of acme\."):
        run("tenants", "members", "acme", "--remove", "stranger")


def test_the_secret_of_a_new_key_is_printed_once(cast: Cast) -> None:
    key = run_json(
        "keys", "create", "--tenant", "acme", "--name", "ci", "--scope", "inference", "--days", "30"
    )
    principal = key_selectors.key_principal(key["prefix"])
    assert principal is not None
    assert key_matches(key["secret"], principal.secret_hash)
    assert principal.scopes == {"inference"}
    assert principal.expires_at is not None
    for arguments in (("keys", "list"), ("keys", "list", "--json"), ("audit", "changes", "--json")):
        assert key["prefix"] in run(*arguments)
        assert key["secret"] not in run(*arguments)


def test_a_successor_can_have_another_expiry(cast: Cast) -> None:
    key = run_json("keys", "rotate", prefix_of(cast.acme_key), "--days", "30", "--grace-s", "60")
    lifetime = dt.datetime.fromisoformat(key["expires_at"]) - timezone.now()
    assert dt.timedelta(days=29, hours=23) < lifetime <= dt.timedelta(days=30)


def test_the_list_of_keys_names_their_networks(cast: Cast) -> None:
    run("keys", "update", prefix_of(cast.acme_key), "--network", "192.0.2.0/24", "--network", "2001:db8::/32")
    (row,) = run_json("keys", "list", "--tenant", "acme")
    assert row["allowed_networks"] == ["192.0.2.0/24", "2001:db8::/32"]
    assert "192.0.2.0/24, 2001:db8::/32" in run("keys", "list", "--tenant", "acme")


def test_a_key_can_be_rotated_and_revoked(cast: Cast) -> None:
    old = prefix_of(cast.acme_key)
    key = run_json("keys", "rotate", old, "--grace-s", "60")
    assert key["replaces"]["prefix"] == old
    assert prefix_of(key["secret"]) == key["prefix"]
    assert f"Key {key['prefix']} is revoked." in run("keys", "revoke", key["prefix"])
    states = {row["prefix"]: row["state"] for row in run_json("keys", "list", "--tenant", "acme")}
    assert states == {old: "valid", key["prefix"]: "revoked"}
    with pytest.raises(CommandError, match=r"revoked\. Create a new key"):
        run("keys", "rotate", key["prefix"])


def test_rotation_prints_the_secret_and_the_end_of_the_old_key(cast: Cast) -> None:
    text = run("keys", "rotate", f"sk-cy-{prefix_of(cast.acme_key)}")
    assert re.search(r"sk-cy-[0-9A-Za-z]{12}-[A-Za-z0-9_-]{43}", text)
    assert re.search(r"stays valid until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", text)


def test_creation_prints_the_expiry_of_the_new_key(cast: Cast) -> None:
    assert "It never expires." in run("keys", "create", "--tenant", "acme", "--name", "a")
    text = run("keys", "create", "--tenant", "acme", "--name", "b", "--days", "0.5")
    expires_at = ApiKey.objects.get(name="b").expires_at
    assert expires_at is not None
    assert f"It is valid until {expires_at:%Y-%m-%d %H:%M:%S} UTC." in text
    assert "It never expires." in run("keys", "rotate", prefix_of(cast.acme_key))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (
            ("tenants", "members", "acne"),
            r"tenant: acne\. Did you mean acme\? Run `manage.py tenants list` to",
        ),
        (("keys", "list", "--tenant", "glodex"), r"No such tenant: glodex\. Did you mean globex\?"),
        (("tenants", "update", "acme"), "Nothing to change. Pass --name"),
        (("tenants", "create", "Acme Ltd"), "Use lower-case letters"),
        (("tenants", "create", "acme"), "already exists"),
        (
            ("tenants", "members", "acme", "--set", "onwer", "owner"),
            r"user: onwer\. Did you mean owner\?",
        ),
        (("tenants", "members", "acme", "--set", "owner", "king"), "king is not a role"),
        (("keys", "create", "--tenant", "acme", "--name", "x", "--scope", "all"), "invalid choice: 'all'"),
        (("keys", "revoke", "nothing"), r"No such key: nothing\. Run `manage.py keys list` to see all"),
        (("keys", "rotate", "x", "--grace-s", "soon"), "invalid float value"),
        *(
            (("keys", "create", "--tenant", "acme", "--name", "x", f"--days={days}"), "--days: must be more")
            for days in ("0", "-1", "nan", "inf", "36501")
        ),
        (
            ("keys", "create", "--tenant", "acme", "--name", "x", "--days", "soon"),
            "invalid days value: 'soon'",
        ),
        (("usage", "list", "--limit", "0"), "--limit: must be 1 or more"),
        (("audit", "changes", "--limit=-3"), "--limit: must be 1 or more"),
        (("audit", "list", "--hours", "nan"), "--hours: must be more than 0"),
        (("usage", "list", "--tenant", "\x1b[31m"), r"No such tenant: \\x1b\[31m\."),
        (("keys",), "SUBCOMMAND"),
    ],
)
def test_an_error_names_its_cause_and_remedy(cast: Cast, arguments: tuple[str, ...], error: str) -> None:
    with pytest.raises(CommandError, match=error):
        run(*arguments)


def test_an_error_never_repeats_a_complete_key(cast: Cast) -> None:
    unknown_key = "sk-cy-abcdefghijkl-" + "s" * 43
    with pytest.raises(CommandError) as error:
        run("keys", "revoke", unknown_key)
    assert "abcdefghijkl" in str(error.value)
    assert "s" * 43 not in str(error.value)
    run("keys", "revoke", cast.acme_key)
    assert ApiKey.objects.get(prefix=prefix_of(cast.acme_key)).revoked_at is not None


def test_usage_and_audit_can_be_filtered(redis_client: redis.Redis, cast: Cast) -> None:
    acme, globex = str(cast.acme.id), str(cast.globex.id)
    write_facts(
        redis_client,
        start_fact("r1", tenant_id=acme),
        meter_fact("r1"),
        end_fact("r1", tenant_id=acme),
        start_fact("r2", tenant_id=globex),
        end_fact("r2", tenant_id=globex, attempt=0, outcome=Outcome.FAILED, status=503),
        end_fact("r3", tenant_id=None, key_id=None, attempt=0, outcome=Outcome.REFUSED, status=401),
    )
    ledger_drain(redis_client)
    (usage,) = run_json("usage", "list", "--tenant", "acme")
    assert (usage["request_id"], usage["completion_tokens"], usage["meter_source"]) == ("r1", 7, "worker")
    assert usage["tokens_per_s"] == pytest.approx(10.0)
    assert [row["request_id"] for row in run_json("usage", "list", "--model", "other")] == []
    assert [row["request_id"] for row in run_json("usage", "list", "--request", "r2")] == ["r2"]
    assert {row["request_id"] for row in run_json("audit", "list")} == {"r1", "r2", "r3"}
    assert [row["tenant"] for row in run_json("audit", "list", "--outcome", "failed")] == ["globex"]
    assert [row["request_id"] for row in run_json("audit", "list", "--correlation-id", "c-r3")] == ["r3"]
    assert len(run_json("audit", "list", "--limit", "2")) == 2
    assert run_json("audit", "list", "--hours", "1") == []
    assert "smollm2" in run("usage", "list")


def test_a_truncated_list_says_so_on_stderr(redis_client: redis.Redis) -> None:
    for number in range(52):
        write_facts(redis_client, end_fact(f"r{number}", attempt=0, outcome=Outcome.REFUSED, status=404))
    ledger_drain(redis_client)
    err = io.StringIO()
    call_command("audit", "list", stdout=io.StringIO(), stderr=err)
    assert err.getvalue() == "Showing 50 of 52 rows; use --limit to show more.\n"
    assert len(run_json("audit", "list")) == 52
    err = io.StringIO()
    call_command("audit", "list", "--limit", "52", stdout=io.StringIO(), stderr=err)
    assert err.getvalue() == ""


@pytest.mark.parametrize("text", ["\udcff", "acme\udce9", "a\0b"])
def test_an_argument_that_is_no_text_is_an_error_of_one_line(cast: Cast, text: str) -> None:
    for arguments in (
        ("tenants", "update", text, "--name", "x"),
        ("keys", "create", "--tenant", "acme", "--name", text),
        ("files", "show", text),
        ("jobs", "cancel", text),
        (
            "jobs",
            "create",
            "--tenant",
            "acme",
            "--model",
            "m",
            "--training-file",
            "f",
            "--option",
            f"{text}=1",
        ),
        ("adapters", "delete", text),
    ):
        with pytest.raises(CommandError, match="is not text in UTF-8"):
            run(*arguments)


def test_a_limit_beyond_all_rows_shows_all_rows(cast: Cast) -> None:
    assert run_json("jobs", "list", "--limit", str(2**63)) == []
    assert run_json("files", "list", "--limit", "9" * 100) == []


def test_output_ends_silently_when_its_reader_closes_the_pipe() -> None:
    script = (
        "from backoffice.command_base import SubcommandsCommand as C\n"
        "C().show([{'n': number} for number in range(100_000)], {'json': True})\n"
    )
    process = subprocess.run(
        ["sh", "-c", '"$0" -c "$1" | head -n 1', sys.executable, script],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (process.stdout, process.stderr) == ("[\n", "")


def test_control_characters_from_clients_are_escaped(redis_client: redis.Redis) -> None:
    write_facts(redis_client, end_fact(attempt=0, model="\x1b[2J名前\n", outcome=Outcome.REFUSED, status=404))
    ledger_drain(redis_client)
    text = run("audit", "list")
    assert "\\x1b[2J名前\\n" in text
    assert "\x1b" not in text
    assert len(text.strip().splitlines()) == 2


def test_administrative_changes_can_be_listed(cast: Cast) -> None:
    run("tenants", "update", "acme", "--name", "Acme Ltd")
    change = run_json("audit", "changes", "--tenant", "acme", "--limit", "1")[0]
    assert (change["action"], change["before"], change["after"]) == (
        "tenant.update",
        {"name": "Acme"},
        {"name": "Acme Ltd"},
    )
    assert Tenant.objects.get(slug="acme").name == "Acme Ltd"
    assert "name: Acme → Acme Ltd" in run("audit", "changes").replace('"', "")


@pytest.mark.criterion("6.10")
def test_changes_can_be_filtered_and_show_their_command(cast: Cast) -> None:
    run("tenants", "update", "acme", "--name", "Acme Ltd")
    run("keys", "create", "--tenant", "globex", "--name", "ci")
    update, creation = AdminAudit.objects.filter(actor__startswith="cli:").order_by("id")
    user = update.actor.removeprefix("cli:")

    def ids(*filters: str) -> set[str]:
        return {change["request_id"] for change in run_json("audit", "changes", *filters)}

    assert ids("--actor", user) == ids("--actor", f"cli:{user}") == {update.request_id, creation.request_id}
    assert ids("--actor", user, "--action", "key") == {creation.request_id}
    assert ids("--actor", user, "--action", "tenant.update") == {update.request_id}
    assert ids("--actor", user, "--object", "ACM") == {update.request_id}
    assert ids("--object", creation.object_id) == {creation.request_id}
    assert ids("--request", update.request_id[:12]) == {update.request_id}
    assert ids("--to", f"{creation.at - dt.timedelta(days=2):%Y-%m-%d}") == set()
    assert ids("--from", f"{creation.at:%Y-%m-%d}", "--hours", "1", "--tenant", "acme") >= {update.request_id}
    heading, *lines = run("audit", "changes", "--actor", user).splitlines()
    assert heading.endswith("REQUEST")
    assert [line.split()[-1] for line in lines] == [creation.request_id, update.request_id]


def test_a_command_or_request_is_shown_with_its_changes(redis_client: redis.Redis, cast: Cast) -> None:
    run("tenants", "update", "acme", "--name", "Acme Ltd")
    change = AdminAudit.objects.get(action="tenant.update")
    text = run("audit", "show", change.request_id[:12])
    assert re.match(rf"request id +{change.request_id}\nchange +tenant\.update acme, tenant acme, by", text)
    assert "name: Acme → Acme Ltd" in text
    (row,) = run_json("audit", "show", change.request_id)
    assert (row["audit"], row["usage"], row["changes"][0]["tenant"]) == (None, None, "acme")
    assert row["changes"][0]["id"] == change.pk
    write_facts(redis_client, end_fact(change.request_id, attempt=0, outcome=Outcome.REFUSED, status=404))
    ledger_drain(redis_client)
    (row,) = run_json("audit", "show", change.request_id)
    assert (row["audit"]["status"], len(row["changes"])) == (404, 1)
    assert row["audit"]["id"] == AuditRecord.objects.get(request_id=change.request_id).pk
    text = run("audit", "show", f"c-{change.request_id}")
    assert ("404" in text, "name: Acme → Acme Ltd" in text) == (True, True)
    with pytest.raises(
        CommandError, match=r"has the id cmd_unknown.*`manage.py audit refusals` counts has no"
    ):
        run("audit", "show", "cmd_unknown")
