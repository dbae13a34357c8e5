"""Exports of the audit trail: whole seals, verified without the database, and audited themselves."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import transaction
from django.utils import timezone

from tenants import services, tasks
from tenants.audit_trail.changes import admin_audit_record
from tenants.audit_trail.export import DamagedTrailError, Selection, audit_export
from tenants.audit_trail.models import AuditSeal, Trail
from tenants.audit_trail.offline import NotAnExportError, csv_verify, file_verify
from tenants.audit_trail.purge import audit_retention
from tenants.audit_trail.sealing import audit_seal
from tenants.audit_trail.verification import UNKNOWN_KEY, audit_verify
from tenants.models import AdminAudit, AuditRecord
from tests.people import Cast

pytestmark = [pytest.mark.django_db, pytest.mark.criterion("6.10")]

DAY = dt.timedelta(days=1)


def audit_rows(tenant: Any, count: int, at: dt.datetime, model: str = "m") -> None:
    """Write audit records of a tenant."""
    AuditRecord.objects.bulk_create(
        AuditRecord(
            request_id=uuid.uuid4().hex, tenant=tenant, endpoint="/v1/models", model=model,
            client_ip="192.0.2.1", status=200, outcome="completed", duration_s=0.1, at=at,
        )
        for _ in range(count)
    )  # fmt: skip


@pytest.fixture
def records(cast: Cast) -> dt.datetime:
    """Four days of sealed records of two tenants; returns the beginning of the first day."""
    first = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0) - 5 * DAY
    for day in range(4):
        for tenant in (cast.acme, cast.globex):
            audit_rows(tenant, 3, first + day * DAY + dt.timedelta(hours=12))
        audit_seal(Trail.REQUESTS)
    return first


def export(selection: Selection, form: str = "jsonl", *, accept_damage: bool = False) -> str:
    """Return an export."""
    output = io.StringIO()
    audit_export(selection, output, form=form, actor="tests", accept_damage=accept_damage)
    return output.getvalue()


def faults(text: str) -> list[str]:
    """Return the faults of an export."""
    return [finding.fault for finding in file_verify(text.splitlines()).findings]


def test_an_export_verifies_without_the_database(cast: Cast, records: dt.datetime) -> None:
    text = export(Selection(Trail.REQUESTS))
    AuditRecord.objects.all().delete()
    result = file_verify(text.splitlines())
    assert (result.records, result.seals, result.findings) == (24, 8, [])
    part = [json.loads(line) for line in text.splitlines()]
    assert {line["tenant_id"] for line in part if line["type"] == "record"} == {
        str(cast.acme.id),
        str(cast.globex.id),
    }


def test_an_export_has_the_whole_seals_of_one_tenant_in_a_time(cast: Cast, records: dt.datetime) -> None:
    selection = Selection(Trail.REQUESTS, cast.acme.id, records + DAY, records + 3 * DAY)
    text = export(selection)
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["number"] for line in lines if line["type"] == "seal"] == [2, 3]
    assert {line["tenant_id"] for line in lines if line["type"] == "record"} == {str(cast.acme.id)}
    assert faults(text) == []
    change = AdminAudit.objects.filter(action="audit.export").latest("id")
    assert (change.actor, change.tenant_id) == ("tests", cast.acme.id)
    assert change.after == {
        "trail": "requests",
        "format": "jsonl",
        "from": (records + DAY).isoformat(),
        "to": (records + 3 * DAY).isoformat(),
    }


def test_an_export_after_a_purge_verifies(cast: Cast, records: dt.datetime) -> None:
    audit_retention(now=records + 2 * DAY, default_days=0, actor="tests")
    result = file_verify(export(Selection(Trail.REQUESTS)).splitlines())
    assert (result.records, result.findings) == (12, [])


def test_administrative_changes_are_exported_with_their_values(cast: Cast) -> None:
    services.tenant_update(tenant_id=cast.acme.id, actor="user:boss", name="Åcme", requests_per_minute=7)
    text = export(Selection(Trail.CHANGES, cast.acme.id))
    assert "Åcme" in text
    assert faults(text) == []
    assert faults(text.replace('"requests_per_minute": 7', '"requests_per_minute": 8')) == [
        "a record was changed"
    ]


def test_an_export_from_before_a_column_was_added_verifies(cast: Cast) -> None:
    audit_seal(Trail.CHANGES)
    lines = [json.loads(line) for line in export(Selection(Trail.CHANGES, cast.acme.id)).splitlines()]
    assert [line.pop("request_id") for line in lines if line["type"] == "record"].count("") > 1
    assert faults("\n".join(map(json.dumps, lines))) == []


Edit = Callable[[list[str]], list[str]]


def replaced(old: str, new: str) -> Edit:
    """Return an edit of a text in all lines."""
    return lambda lines: [line.replace(old, new) for line in lines]


@pytest.mark.parametrize(
    ("edit", "fault"),
    [
        (replaced('"model": "m"', '"model": "x"'), "a record was changed"),
        (lambda lines: [lines[0], *lines[2:]], "records were deleted: 1"),
        (lambda lines: [*lines[:2], lines[1], *lines[2:]], "records were inserted: 1"),
        (lambda lines: [*lines[:1], *lines[5:]], "seals before this one are missing"),
        (lambda lines: lines[:-1], "the end of the file is missing"),
        (lambda lines: [*lines[:-5], lines[-1]], "lines were deleted or inserted"),
        (replaced('"record_count": 3', '"record_count": 4'), "the seal was changed"),
        (lambda lines: [*lines[:-2], lines[-1]], "records were inserted, or a seal was deleted"),
    ],
)  # fmt: skip
def test_every_edit_of_an_export_is_found(cast: Cast, records: dt.datetime, edit: Edit, fault: str) -> None:
    lines = export(Selection(Trail.REQUESTS, cast.acme.id)).splitlines()
    assert fault in faults("\n".join(edit(lines)))


def test_a_seal_of_another_chain_or_secret_is_found(cast: Cast, records: dt.datetime) -> None:
    text = export(Selection(Trail.REQUESTS, cast.acme.id))
    moved_text = text.replace(f'"tenant_id": "{cast.acme.id}", "number"', '"tenant_id": null, "number"')
    assert "the seal is of another chain" in faults(moved_text)
    seal = json.loads(text.splitlines()[4])
    foreign = faults(text.replace(seal["key_id"], "0" * 16))
    assert any("sealed with a secret key" in fault for fault in foreign)


@pytest.mark.parametrize("text", ["", "{}", "no json", '{"type": "seal"}', '{"type": "record"}', "[]"])
def test_a_file_that_is_no_export_is_refused(text: str) -> None:
    if text:
        with pytest.raises(NotAnExportError):
            file_verify(text.splitlines())
    else:
        assert faults(text) == ["the end of the file is missing"]


def test_a_spreadsheet_gets_no_formulas(cast: Cast) -> None:
    audit_rows(cast.acme, 1, timezone.now(), model="=HYPERLINK(1)")
    rows = list(csv.DictReader(io.StringIO(export(Selection(Trail.REQUESTS, cast.acme.id), "csv"))))
    assert [row["model"] for row in rows[:-1]] == ["'=HYPERLINK(1)"]
    assert rows[0]["client_ip"] == "192.0.2.1"
    assert rows[-1]["id"] == "end"


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_an_end_of_line_in_a_name_begins_no_row_of_a_spreadsheet(cast: Cast, end: str) -> None:
    services.tenant_create(slug="new", name=f"x{end}=HYPERLINK(1)", actor=f"x{end}=HYPERLINK(1)")
    text = export(Selection(Trail.CHANGES), "csv")
    starts = [row[0] for row in csv.reader(io.StringIO(text.replace("\r", "\n"), newline=""))]
    assert not [start for start in starts if start.startswith("=")]
    assert csv_verify(text.splitlines(keepends=True)).findings == []


@pytest.mark.parametrize(
    ("edit", "fault"),
    [
        (lambda lines: lines, None),
        (replaced("192.0.2.1", "192.0.2.2"), "the file was changed"),
        (lambda lines: [*lines[:1], *lines[2:]], "the file was changed"),
        (lambda lines: [*lines[:2], *lines[1:]], "the file was changed"),
        (replaced("end,3,", "end,4,"), "the file was changed"),
        (lambda lines: [re.sub("end,3,[0-9a-f]{16}", f"end,3,{0:016}", line) for line in lines], UNKNOWN_KEY),
    ],
)  # fmt: skip
def test_every_edit_of_a_csv_export_is_found(
    cast: Cast, records: dt.datetime, edit: Edit, fault: str | None
) -> None:
    text = export(Selection(Trail.REQUESTS, cast.acme.id, records, records + DAY), "csv")
    result = csv_verify(edit(text.splitlines(keepends=True)))
    assert [finding.fault for finding in result.findings] == ([] if fault is None else [fault])
    if fault is None:
        assert result.records == 3


def test_a_csv_export_with_a_long_cell_verifies(cast: Cast) -> None:
    with transaction.atomic():
        admin_audit_record(
            actor="a", action="key.update", object_id="k", object_name="k", after={"name": "x" * 200_000}
        )
    text = export(Selection(Trail.CHANGES), "csv")
    assert csv_verify(text.splitlines(keepends=True)).findings == []


@pytest.mark.parametrize("text", ["", "id,at\n", "end,x,y,z\n"])
def test_a_csv_file_that_is_no_export_is_refused(text: str) -> None:
    with pytest.raises(NotAnExportError):
        csv_verify(text.splitlines(keepends=True))


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"type": "end", "key_id": [], "mac": ""}',
        '{"type": "chain", "trail": "requests", "previous_number": "", "tenant_id": 1, "previous_chain": 0}\n'
        '{"type": "record"}\n',
    ],
)
def test_the_command_names_a_file_with_other_values_than_an_export(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.jsonl"
    path.write_text(text)
    with pytest.raises(CommandError, match="is not an export in the format jsonl"):
        call_command("audit", "verify", "--file", str(path), stdout=io.StringIO())


def test_the_commands_export_and_verify_a_file(cast: Cast, records: dt.datetime, tmp_path: Path) -> None:
    path = tmp_path / "acme.jsonl"
    times = ("--from", f"{records:%Y-%m-%d}", "--to", f"{records:%Y-%m-%d}")
    call_command("audit", "export", "--tenant", "acme", *times, "--output", str(path), stderr=io.StringIO())
    assert path.stat().st_mode & 0o777 == 0o600
    output = io.StringIO()
    call_command("audit", "verify", "--file", str(path), "--json", stdout=output)
    assert json.loads(output.getvalue()) == [{"records": 3, "seals": 1, "findings": 0}]
    with pytest.raises(CommandError, match=r"exists already\. Choose another name"):
        call_command("audit", "export", "--output", str(path))
    with pytest.raises(CommandError, match="can't be written"):
        call_command("audit", "export", "--output", str(tmp_path / "none" / "acme.jsonl"))
    path.write_text(path.read_text().replace('"status": 200', '"status": 500', 1))
    with pytest.raises(CommandError, match="The file deviates"):
        call_command("audit", "verify", "--file", str(path), stdout=io.StringIO(), stderr=io.StringIO())
    path.write_text("nothing")
    with pytest.raises(CommandError, match="not an export"):
        call_command("audit", "verify", "--file", str(path), stdout=io.StringIO())
    table = tmp_path / "acme.csv"
    options = ("--tenant", "acme", "--format", "csv", "--output", str(table))
    call_command("audit", "export", *options, stderr=io.StringIO())
    call_command("audit", "verify", "--file", str(table), stdout=(output := io.StringIO()))
    assert "12" in output.getvalue()
    table.write_text("nothing")
    with pytest.raises(CommandError, match="not an export in the format csv"):
        call_command("audit", "verify", "--file", str(table), stdout=io.StringIO())
    with pytest.raises(CommandError, match="can't be read"):
        call_command("audit", "verify", "--file", str(tmp_path / "none"), stdout=io.StringIO())
    with pytest.raises(CommandError, match="is not a date"):
        call_command("audit", "export", "--from", "yesterday")
    with pytest.raises(CommandError, match=r"--from must be before --to\."):
        call_command("audit", "export", "--from", "2026-01-31", "--to", "2026-01-30")


Damage = Callable[[Cast], None]


def newest_seal(cast: Cast) -> AuditSeal:
    return AuditSeal.objects.filter(trail=Trail.REQUESTS, tenant_id=cast.acme.id).latest("number")


def delete_a_record(cast: Cast) -> None:
    AuditRecord.objects.filter(tenant=cast.acme).latest("id").delete()


def edit_a_record(cast: Cast) -> None:
    AuditRecord.objects.filter(tenant=cast.acme, id=newest_seal(cast).last_id).update(status=500)


def delete_the_newest_seal(cast: Cast) -> None:
    seal = newest_seal(cast)
    AuditRecord.objects.filter(tenant=cast.acme, at__date=seal.newest_at.date()).delete()
    seal.delete()


DAMAGES = [
    (delete_a_record, "records were deleted: 1"),
    (edit_a_record, "a record was changed"),
    (delete_the_newest_seal, "seals were deleted or inserted"),
]


@pytest.mark.parametrize("form", ["jsonl", "csv"])
@pytest.mark.parametrize(("damage", "fault"), DAMAGES)
def test_a_damaged_trail_is_exported_only_on_demand_and_the_file_says_so(
    cast: Cast, records: dt.datetime, damage: Damage, fault: str, form: str
) -> None:
    damage(cast)
    selection = Selection(Trail.REQUESTS, cast.acme.id)
    output = io.StringIO()
    with pytest.raises(DamagedTrailError) as error:
        audit_export(selection, output, form=form, actor="tests")
    assert [finding.fault for finding in error.value.findings] == [fault]
    assert output.getvalue() == ""
    assert not AdminAudit.objects.filter(action="audit.export").exists()
    text = export(selection, form, accept_damage=True)
    change = AdminAudit.objects.get(action="audit.export")
    assert change.after is not None
    assert change.after["deviations"] == 1
    verify = csv_verify if form == "csv" else file_verify
    lines = text.splitlines(keepends=True)
    file_faults = [finding.fault for finding in verify(lines).findings]
    assert file_faults[-1] == f"before the export, {fault}"
    without = [line for line in lines if "deviation" not in line]
    file_faults = [finding.fault for finding in verify(without).findings]
    assert file_faults[-1] == ("the file was changed" if form == "csv" else "lines were deleted or inserted")


def test_a_named_deviation_can_not_be_edited(cast: Cast, records: dt.datetime) -> None:
    delete_a_record(cast)
    text = export(Selection(Trail.REQUESTS, cast.acme.id), accept_damage=True)
    chain = json.dumps(json.loads(text.splitlines()[0]))
    deviation = next(line for line in text.splitlines() if '"deviation"' in line)
    for replacement in (chain, deviation.replace("deleted: 1", "deleted: 0")):
        assert "lines were deleted or inserted" in faults(text.replace(deviation, replacement))


def test_damage_outside_of_an_export_does_not_stop_it(cast: Cast, records: dt.datetime) -> None:
    delete_a_record(cast)
    end = records + 2 * DAY
    assert faults(export(Selection(Trail.REQUESTS, cast.acme.id, end=end))) == []
    assert faults(export(Selection(Trail.REQUESTS, cast.globex.id))) == []
    with pytest.raises(DamagedTrailError):
        export(Selection(Trail.REQUESTS))


def test_the_command_refuses_to_export_a_damaged_trail(
    cast: Cast, records: dt.datetime, tmp_path: Path
) -> None:
    delete_a_record(cast)
    path, errors = tmp_path / "acme.csv", io.StringIO()
    options = ("--tenant", "acme", "--format", "csv", "--output", str(path))
    with pytest.raises(CommandError, match=r"in 1 place\. Pass --accept-damage"):
        call_command("audit", "export", *options, stderr=errors)
    assert re.search(r"requests, tenant acme, records \d+ to \d+: records were deleted: 1", errors.getvalue())
    assert not path.exists()
    call_command("audit", "export", *options, "--accept-damage", stderr=errors)
    assert "11 records exported" in errors.getvalue()
    with pytest.raises(CommandError, match="The file deviates"):
        call_command("audit", "verify", "--file", str(path), stdout=io.StringIO(), stderr=errors)
    assert "before the export, records were deleted: 1" in errors.getvalue()


@pytest.mark.criterion("5.10")
def test_each_tenant_has_its_own_retention(cast: Cast) -> None:
    days = settings.CYLLM.audit_retention_days
    services.tenant_update(tenant_id=cast.acme.id, actor="tests", audit_keep_days=days + 10)
    services.tenant_update(tenant_id=cast.globex.id, actor="tests", audit_keep_days=1)
    now = timezone.now()
    for tenant in (cast.acme, cast.globex, None):
        audit_rows(tenant, 2, now - dt.timedelta(days=days + 2))
        audit_rows(tenant, 1, now - dt.timedelta(days=3))
    assert tasks.audit_purge_task() == 5
    slugs = AuditRecord.objects.order_by("id").values_list("tenant__slug", flat=True)
    assert sorted(map(str, slugs)) == ["None", "acme", "acme", "acme"]
    assert audit_verify(Trail.REQUESTS).findings == ()
    with pytest.raises(ValidationError, match="1 day or more"):
        services.tenant_update(tenant_id=cast.acme.id, actor="tests", audit_keep_days=0)
