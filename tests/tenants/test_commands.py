"""``manage.py tenants``, ``keys``, ``usage`` and ``audit``: tables for people, JSON for scripts."""

from __future__ import annotations

import datetime as dt
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from inference_worker.protocol.messages import Outcome
from tenants import selectors
from tenants.keys import key_matches, split_key
from tenants.ledger.drain import ledger_drain
from tenants.models import AdminAudit, ApiKey, Tenant
from tests.tenants.facts import ended, metered, started, write

if TYPE_CHECKING:
    from tests.people import Cast

pytestmark = pytest.mark.django_db


def run(*words: str) -> str:
    out = io.StringIO()
    call_command(*words, stdout=out)
    return out.getvalue()


def answer(*words: str) -> Any:
    return json.loads(run(*words, "--json"))


def prefix_of(secret: str) -> str:
    prefix = split_key(secret)
    assert prefix is not None
    return prefix


def test_a_tenant_is_created_changed_and_listed() -> None:
    made = answer("tenants", "create", "acme", "--name", "Acme Ltd")
    assert (made["slug"], made["name"], made["active"]) == ("acme", "Acme Ltd", True)
    assert "Tenant acme updated." in run("tenants", "update", "acme", "--inactive")
    (row,) = answer("tenants", "list")
    assert (row["id"], row["active"], row["keys"]) == (made["id"], False, 0)
    assert AdminAudit.objects.filter(action="tenant.update", actor__startswith="cli:").count() == 1


def test_the_table_has_a_line_for_each_tenant(cast: Cast) -> None:
    lines = run("tenants", "list").splitlines()
    assert re.split(r"\s{2,}", lines[0]) == ["SLUG", "NAME", "ACTIVE", "CREATED AT", "ID", "KEYS"]
    assert re.split(r"\s{2,}", lines[1])[:3] == ["acme", "Acme", "yes"]
    assert [line.split()[0] for line in lines[1:]] == ["acme", "globex"]


def test_members_are_shown_set_and_removed(cast: Cast) -> None:
    rows = answer("tenants", "members", "acme", "--set", "stranger", "viewer")
    assert {row["user"]: row["role"] for row in rows} == {
        "owner": "owner",
        "member": "member",
        "stranger": "viewer",
    }
    rows = answer("tenants", "members", "acme", "--remove", "stranger")
    assert [row["user"] for row in rows] == ["member", "owner"]
    with pytest.raises(CommandError, match=r"stranger is no member of acme\."):
        run("tenants", "members", "acme", "--remove", "stranger")


def test_a_created_keys_secret_is_printed_once(cast: Cast) -> None:
    made = answer(
        "keys", "create", "--tenant", "acme", "--name", "ci", "--scope", "inference", "--days", "30"
    )
    principal = selectors.key_principal(made["prefix"])
    assert principal is not None
    assert key_matches(made["secret"], principal.secret_hash)
    assert principal.scopes == {"inference"}
    assert principal.expires_at is not None
    for words in (("keys", "list"), ("keys", "list", "--json"), ("audit", "changes", "--json")):
        assert made["prefix"] in run(*words)
        assert made["secret"] not in run(*words)


def test_a_successor_can_be_given_another_expiry(cast: Cast) -> None:
    made = answer("keys", "rotate", prefix_of(cast.acme_key), "--days", "30", "--grace-s", "60")
    until = dt.datetime.fromisoformat(made["expires_at"]) - timezone.now()
    assert dt.timedelta(days=29, hours=23) < until <= dt.timedelta(days=30)


def test_a_key_is_rotated_and_revoked(cast: Cast) -> None:
    old = prefix_of(cast.acme_key)
    made = answer("keys", "rotate", old, "--grace-s", "60")
    assert made["replaces"]["prefix"] == old
    assert prefix_of(made["secret"]) == made["prefix"]
    assert f"Key {made['prefix']} is revoked." in run("keys", "revoke", made["prefix"])
    states = {row["prefix"]: row["state"] for row in answer("keys", "list", "--tenant", "acme")}
    assert states == {old: "valid", made["prefix"]: "revoked"}
    with pytest.raises(CommandError, match="revoked; create a new one"):
        run("keys", "rotate", made["prefix"])


def test_people_see_the_secret_and_until_when_the_old_key_lives(cast: Cast) -> None:
    text = run("keys", "rotate", f"sk-cy-{prefix_of(cast.acme_key)}")
    assert re.search(r"sk-cy-[0-9A-Za-z]{12}-[A-Za-z0-9_-]{43}", text)
    assert re.search(r"stays valid until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", text)


def test_people_are_told_until_when_a_new_key_is_valid(cast: Cast) -> None:
    assert "It never expires." in run("keys", "create", "--tenant", "acme", "--name", "a")
    text = run("keys", "create", "--tenant", "acme", "--name", "b", "--days", "0.5")
    stored = ApiKey.objects.get(name="b").expires_at
    assert stored is not None
    assert f"It is valid until {stored:%Y-%m-%d %H:%M:%S} UTC." in text
    assert "It never expires." in run("keys", "rotate", prefix_of(cast.acme_key))


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (("tenants", "members", "acne"), r"No such tenant: acne\. Did you mean acme\? `manage.py tenants list`"),
        (("keys", "list", "--tenant", "glodex"), r"No such tenant: glodex\. Did you mean globex\?"),
        (("tenants", "update", "acme"), "Nothing to change; give --name"),
        (("tenants", "create", "Acme Ltd"), "Lower-case letters"),
        (("tenants", "create", "acme"), "already exists"),
        (("tenants", "members", "acme", "--set", "onwer", "owner"), r"No such user: onwer\. Did you mean owner\?"),
        (("tenants", "members", "acme", "--set", "owner", "king"), "king is no role"),
        (("keys", "create", "--tenant", "acme", "--name", "x", "--scope", "all"), "invalid choice: 'all'"),
        (("keys", "revoke", "nothing"), r"No such key: nothing\. `manage.py keys list` shows all"),
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
def test_a_fault_is_named_with_its_remedy(cast: Cast, words: tuple[str, ...], fault: str) -> None:
    with pytest.raises(CommandError, match=fault):
        run(*words)


def test_a_key_typed_whole_is_never_repeated(cast: Cast) -> None:
    unknown = "sk-cy-abcdefghijkl-" + "s" * 43
    with pytest.raises(CommandError) as fault:
        run("keys", "revoke", unknown)
    assert "abcdefghijkl" in str(fault.value)
    assert "s" * 43 not in str(fault.value)
    run("keys", "revoke", cast.acme_key)
    assert ApiKey.objects.get(prefix=prefix_of(cast.acme_key)).revoked_at is not None


def test_usage_and_audit_are_listed_by_tenant(redis_client: redis.Redis, cast: Cast) -> None:
    acme, globex = str(cast.acme.id), str(cast.globex.id)
    write(
        redis_client,
        started("r1", tenant_id=acme),
        metered("r1"),
        ended("r1", tenant_id=acme),
        started("r2", tenant_id=globex),
        ended("r2", tenant_id=globex, attempt=0, outcome=Outcome.FAILED, status=503),
        ended("r3", tenant_id=None, key_id=None, attempt=0, outcome=Outcome.REFUSED, status=401),
    )
    ledger_drain(redis_client)
    (used,) = answer("usage", "list", "--tenant", "acme")
    assert (used["request_id"], used["completion_tokens"], used["meter_source"]) == ("r1", 7, "worker")
    assert used["tokens_per_s"] == pytest.approx(10.0)
    assert [row["request_id"] for row in answer("usage", "list", "--model", "other")] == []
    assert [row["request_id"] for row in answer("usage", "list", "--request", "r2")] == ["r2"]
    assert {row["request_id"] for row in answer("audit", "list")} == {"r1", "r2", "r3"}
    assert [row["tenant"] for row in answer("audit", "list", "--outcome", "failed")] == ["globex"]
    assert [row["request_id"] for row in answer("audit", "list", "--correlation-id", "c-r3")] == ["r3"]
    assert len(answer("audit", "list", "--limit", "2")) == 2
    assert answer("audit", "list", "--hours", "1") == []
    assert "smollm2" in run("usage", "list")


def test_a_list_that_is_cut_says_so_beside_its_output(redis_client: redis.Redis) -> None:
    for number in range(52):
        write(redis_client, ended(f"r{number}", attempt=0, outcome=Outcome.REFUSED, status=404))
    ledger_drain(redis_client)
    err = io.StringIO()
    call_command("audit", "list", stdout=io.StringIO(), stderr=err)
    assert err.getvalue() == "50 of 52 shown; --limit N shows more.\n"
    assert len(answer("audit", "list")) == 52
    err = io.StringIO()
    call_command("audit", "list", "--limit", "52", stdout=io.StringIO(), stderr=err)
    assert err.getvalue() == ""


def test_a_reader_that_has_had_enough_ends_the_output_silently() -> None:
    script = (
        "from backoffice.command_base import SubcommandsCommand as C\n"
        "C().show([{'n': number} for number in range(100_000)], {'json': True})\n"
    )
    done = subprocess.run(
        ["sh", "-c", '"$0" -c "$1" | head -n 1', sys.executable, script],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("[\n", "")


def test_what_a_client_sent_can_not_steer_the_terminal(redis_client: redis.Redis) -> None:
    write(redis_client, ended(attempt=0, model="\x1b[2J名前\n", outcome=Outcome.REFUSED, status=404))
    ledger_drain(redis_client)
    text = run("audit", "list")
    assert "\\x1b[2J名前\\n" in text
    assert "\x1b" not in text
    assert len(text.strip().splitlines()) == 2


def test_administrative_changes_are_listed(cast: Cast) -> None:
    run("tenants", "update", "acme", "--name", "Acme Ltd")
    change = answer("audit", "changes", "--tenant", "acme", "--limit", "1")[0]
    assert (change["action"], change["before"], change["after"]) == (
        "tenant.update",
        {"name": "Acme"},
        {"name": "Acme Ltd"},
    )
    assert Tenant.objects.get(slug="acme").name == "Acme Ltd"
    assert '{"name": "Acme Ltd"}' in run("audit", "changes")
