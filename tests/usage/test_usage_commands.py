"""``manage.py usage`` and ``audit``: sums, filters, one request by any id, and tables that fit a terminal."""

from __future__ import annotations

import csv
import datetime as dt
import io
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from django.core.management import call_command, get_commands, load_command_class
from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from backoffice.command_base import SubcommandsCommand, table
from inference_worker.protocol.messages import Outcome
from tenants.audit_trail.models import Trail
from tenants.audit_trail.sealing import audit_seal
from tenants.ledger.store import facts_store
from tenants.models import ApiKey, AuditRecord, UsageRecord
from tenants.usage.models import UsageRollup
from tests.commands import run, run_json
from tests.tenants.facts import end_fact, meter_fact, refused_fact, start_fact
from tests.usage.records import usage_record

if TYPE_CHECKING:
    from tests.people import Cast

pytestmark = pytest.mark.django_db
DAY = "2026-03-01"


@pytest.fixture
def key(cast: Cast) -> ApiKey:
    """The key of acme, with usage in the last half-hour of a day in Kolkata and in the next one."""
    key = ApiKey.objects.get(tenant=cast.acme)
    usage_record("2026-03-01T18:29:59+00:00", tenant=cast.acme, key=key, model="tiny")
    usage_record("2026-03-01T18:30:00+00:00", tenant=cast.acme, key=key, model="large", cost_microusd=1)
    usage_record("2026-03-01T18:30:00+00:00", tenant=cast.globex, model="=cmd()", outcome="failed")
    return key


@pytest.mark.case("admin.1")
def test_usage_can_be_summed_by_key_and_day(key: ApiKey) -> None:
    rows = run_json("usage", "sum", "--by", "key,day", "--tz", "Asia/Kolkata")
    sums = [(row["day"], row["key_prefix"], row["requests"], row["cost_microusd"]) for row in rows]
    assert sums == [
        ("2026-03-01", key.prefix, 1, 100),
        ("2026-03-02", None, 1, 100),
        ("2026-03-02", key.prefix, 1, 1),
    ]
    text = run("usage", "sum", "--by", "tenant,key", "--from", DAY, "--to", DAY)
    assert text.splitlines()[1].split()[:3] == ["acme", key.prefix, "acme"]
    assert "$0.000101" in text


def test_a_period_of_dates_includes_the_last_one(key: ApiKey) -> None:
    def requests(*options: str) -> list[int]:
        return [row["requests"] for row in run_json("usage", "sum", "--by", "tenant", *options)]

    assert requests("--from", DAY, "--to", DAY, "--tz", "Asia/Kolkata") == [1]
    assert requests("--from", "2026-03-02", "--tz", "Asia/Kolkata") == [1, 1]
    assert requests("--to", "2026-03-01T18:30", "--tenant", "acme") == [1]
    assert requests("--from", "2026-03-01T18:30+00:00", "--key", key.prefix) == [1]
    assert requests("--model", "tiny", "--endpoint", "/v1/chat/completions") == [1]
    assert requests("--from", "2026-04-01") == []
    assert len(run_json("usage", "sum", "--by", "model", "--limit", "2")) == 2


def test_csv_has_all_measures_and_no_formulas(key: ApiKey) -> None:
    rows = list(csv.DictReader(io.StringIO(run("usage", "sum", "--by", "model", "--csv"))))
    assert [row["model"] for row in rows] == ["'=cmd()", "tiny", "large"]
    assert {"cost_microusd", "first_token_us", "wasted_tokens"} < rows[0].keys()
    empty = run("usage", "sum", "--by", "model", "--csv", "--from", "2027-01-01")
    assert empty.startswith("model,requests,")
    assert len(empty.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("usage", "sum", "--by", "user"), "'user' is not one of tenant, key, model, endpoint, day, hour"),
        (("usage", "sum", "--by", "day,hour"), "day or hour, not both"),
        (("usage", "sum", "--by", ","), "choose from tenant"),
        (("usage", "sum", "--tz", "Asia/Kolkatta"), "Asia/Kolkatta is not a time zone"),
        (("usage", "sum", "--from", "yesterday"), "'yesterday' is not a date such as"),
        (("usage", "sum", "--to", "9999-12-31"), "outside of the years 1 to 9999 in UTC"),
        (("audit", "export", "--from", "0001-01-01T00:00+14:00"), "outside of the years 1 to 9999 in UTC"),
        (("usage", "sum", "--from", "2026-03-01T10:07"), "quarter of an hour"),
        (("usage", "list", "--from", "2026-03-02", "--to", "2026-03-01"), "--from must be before --to"),
        (("usage", "show", "req_00000000"), "No request has the id req_00000000. Pass a request id"),
        (("keys", "lits"), "Did you mean list?"),
        (("audit", "list", "--outcome", "complete"), "Did you mean completed?"),
        (("keys", "create", "--tenant", "acme", "--name", ""), "name: This field cannot be blank"),
    ],
)
@pytest.mark.case("admin.22")
def test_an_error_names_the_fault_and_the_closest_choice(
    cast: Cast, arguments: Sequence[str], error: str
) -> None:
    with pytest.raises(CommandError, match=error.replace("?", r"\?")):
        run(*arguments)


@pytest.mark.case("admin.6")
def test_usage_and_audit_have_the_same_filters(cast: Cast) -> None:
    key = ApiKey.objects.get(tenant=cast.acme)
    owner: dict[str, Any] = {"tenant_id": str(cast.acme.id), "key_id": str(key.id)}
    failure_fact = end_fact("r1", outcome=Outcome.FAILED, status=500, error_code="engine_error", **owner)
    facts_store([start_fact("r1", **owner), meter_fact("r1"), failure_fact], now=timezone.now())
    facts_store([start_fact("r2"), meter_fact("r2"), end_fact("r2")], now=timezone.now())
    filters = [
        *(("--tenant", "acme"), ("--key", key.prefix), ("--outcome", "failed"), ("--code", "engine_error")),
        *(("--request", "r1"), ("--correlation-id", "c-r1")),
    ]
    for command in ("usage", "audit"):
        for option in filters:
            assert [row["request_id"] for row in run_json(command, "list", *option)] == ["r1"], option
        assert len(run_json(command, "list", "--model", "smollm2", "--endpoint", "/v1/chat/completions")) == 2
        assert run_json(command, "list", "--from", "2025-06-16") == []
        assert len(run_json(command, "list", "--from", "2025-06-15", "--to", "2025-06-15")) == 2
        column = "started_at" if command == "usage" else "at"
        at = dt.datetime.fromisoformat(run_json(command, "list", "--request", "r1")[0][column])
        assert at.utcoffset() == dt.timedelta(), "scripts get UTC"
        local_at = at.astimezone(ZoneInfo("Asia/Kolkata"))
        assert f"{local_at:%Y-%m-%d %H:%M:%S}+05:30" in run(command, "list", "--tz", "Asia/Kolkata")
        assert f"{at:%Y-%m-%d %H:%M:%S}Z" in run(command, "list")


@pytest.mark.case("admin.2")
def test_one_command_shows_why_a_request_failed() -> None:
    end = end_fact(
        "req_0123456789abcdef",
        attempt=0,
        status=400,
        outcome=Outcome.REFUSED,
        error_code="decimal_above_max_value",
    )
    end = msgspec.structs.replace(end, model=None, requested_model="tiny", error_param="temperature")
    facts_store([end], now=timezone.now())
    for text in ("req_0123456789abcdef", "req_01234567", "c-req_0123456789abcdef"):
        output = run("audit", "show", text)
        assert "decimal_above_max_value" in output
        assert "parameter         temperature" in output
        assert "requested model   tiny" in output
        assert "Invalid 'temperature'" in output
        assert "remedy            " in output
    (row,) = run_json("audit", "show", "req_01234567")
    assert (row["audit"]["error_param"], row["usage"]) == ("temperature", None)
    with pytest.raises(CommandError, match="has no usage record"):
        run("usage", "show", "req_01234567")


def test_a_request_is_shown_with_its_tokens_cost_and_times() -> None:
    facts_store([start_fact(), meter_fact(), end_fact()], now=timezone.now())
    text = run("usage", "show", "c-r1")
    assert "11 prompt (3 cached), 7 completion" in text
    assert "queue 0.010 s, first token 0.200 s, total 1.250 s" in text
    (row,) = run_json("usage", "show", "r1")
    assert (row["prompt_tokens"], row["cost_microusd"]) == (11, 0)
    training = usage_record("2026-03-01T00:00:00+00:00", request_id="ftjob-x-1", trained_tokens=500)
    assert "500 trained" in run("usage", "show", training.request_id)


def test_sums_can_be_verified_and_rebuilt(key: ApiKey) -> None:
    assert run("usage", "verify").strip() == "All sums equal their records."
    UsageRollup.objects.filter(model="tiny").update(requests=9)
    with pytest.raises(CommandError, match="1 sum differs from the records"):
        call_command("usage", "verify", stdout=(output := io.StringIO()))
    assert {"acme", key.prefix, "tiny"} <= set(output.getvalue().split())
    assert "3 sums made from the records." in run("usage", "rebuild")
    assert run_json("usage", "verify") == []


@pytest.mark.criterion("6.4")
def test_counts_of_refusals_can_be_listed(cast: Cast) -> None:
    key = ApiKey.objects.get(tenant=cast.acme)
    meter_fact_again = msgspec.structs.replace(
        refused_fact("f1", key_id=str(key.id)), tenant_id=str(cast.acme.id), key_prefix=key.prefix
    )
    facts_store([meter_fact_again, refused_fact("f2", requests=2, key_id=None)], now=timezone.now())
    rows = run_json("audit", "refusals", "--tenant", "acme", "--key", key.prefix)
    assert [(row["key"], row["requests"], row["network"]) for row in rows] == [
        (key.prefix, 7, "192.0.2.0/24")
    ]
    assert len(run_json("audit", "refusals", "--code", "rate_limit_exceeded")) == 2
    assert run_json("audit", "refusals", "--hours", "1") == []
    assert "audit list --outcome refused" in run("audit", "refusals", "--hours", "1")
    assert "rate_limit" in run("audit", "refusals")


class Terminal(io.StringIO):
    """An output that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.case("admin.22")
def test_tables_fit_a_terminal_and_are_complete_in_a_pipe(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = ApiKey.objects.get(tenant=cast.acme)
    long = {"model": "m" * 200, "endpoint": "/v1/" + "e" * 196, "correlation_id": "c" * 200}
    at = timezone.now()
    owner = {"tenant": cast.acme, "key": key}
    usage_record(at, request_id="req_" + "a" * 32, worker_id="w" * 128, **owner, **long)
    AuditRecord.objects.create(
        request_id="req_" + "a" * 32,
        status=404,
        outcome="refused",
        error_code="e" * 100,
        duration_s=1.0,
        at=at,
        key_prefix=key.prefix,
        **owner,
        **long,
    )
    facts_store([refused_fact()], now=at)
    audit_seal(Trail.CHANGES)  # the tenants may have been created some time ago
    commands = [
        "usage list",
        "usage sum --by tenant,key,model,endpoint",
        "usage sum --by key,hour",
        "audit list",
    ]
    commands += ["audit refusals", "audit changes", "keys list", "tenants list", "audit verify"]
    monkeypatch.setenv("COLUMNS", "90")
    for command in commands:
        call_command(*command.split(), stdout=(terminal := Terminal()))
        lines = terminal.getvalue().splitlines()
        assert len(lines) > 1, command
        assert max(map(len, lines)) <= 90, command
        assert "…" not in run(*command.split()), command
    call_command("audit", "list", stdout=(terminal := Terminal()))
    assert f"req_{'a' * 12}\n" in terminal.getvalue()
    pipe_text = run("audit", "list")
    assert f"req_{'a' * 32}\n" in pipe_text
    assert "m" * 200 in pipe_text


def test_ids_are_cut_last() -> None:
    row = {"name": "n" * 200, "request_id": "r" * 60, "at": timezone.now()}
    lines = table([row], max_width=100).splitlines()
    assert "r" * 60 in lines[1]
    assert lines[1].startswith("nnn")
    assert "…" in lines[1]
    assert max(map(len, table([{"id": "i" * 90, "a_id": "j" * 90}], max_width=100).splitlines())) == 100


def subcommand_parsers() -> list[CommandParser]:
    """Return the parsers of all subcommands of the platform's commands."""
    ours = [(app, name) for name, app in get_commands().items() if not app.startswith(("django", "axes"))]
    commands = [load_command_class(app, name) for app, name in ours]
    return [
        subparser
        for command in commands
        if isinstance(command, SubcommandsCommand)
        for action in command.create_parser("manage.py", type(command).__module__.rpartition(".")[2])._actions
        if hasattr(action, "choices") and isinstance(action.choices, dict)
        for subparser in action.choices.values()
    ]


@pytest.mark.case("admin.22")
def test_help_is_short_and_has_examples() -> None:
    help_text = io.StringIO()
    load_command_class("tenants", "usage").create_parser("manage.py", "usage").print_help(help_text)
    assert "--pythonpath" not in help_text.getvalue()
    parsers = subcommand_parsers()
    assert len(parsers) > 30
    for parser in parsers:
        examples = [line for line in (parser.epilog or "").splitlines() if line.startswith("  ")]
        assert examples, parser.prog
        for example in examples:
            assert example.strip().startswith(parser.prog)
            parser.parse_args(shlex.split(example.removeprefix(f"  {parser.prog}")))  # raises CommandError


def test_records_of_a_fine_tuning_attempt_can_be_listed(cast: Cast) -> None:
    usage_record(timezone.now(), request_id="ftjob-abc-1", trained_tokens=12, endpoint="/v1/fine_tuning/jobs")
    assert "ftjob-abc-1" in run("usage", "list", "--endpoint", "/v1/fine_tuning/jobs")
    assert UsageRecord.objects.count() == 1
