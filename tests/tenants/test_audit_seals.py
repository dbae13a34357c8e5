"""Audit records are sealed in chains per tenant; verification finds whatever was done to them afterwards."""

from __future__ import annotations

import datetime as dt
import json
import threading
import uuid
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import msgspec
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection, connections, transaction
from django.db.models import Q
from django.test import override_settings
from django.utils import timezone

from tenants.audit_trail import digests
from tenants.audit_trail.changes import admin_audit_record
from tenants.audit_trail.models import AuditSeal, SealPosition, Trail
from tenants.audit_trail.purge import audit_retention
from tenants.audit_trail.sealing import audit_seal
from tenants.audit_trail.verification import audit_verify
from tenants.ledger.store import facts_store
from tenants.models import AdminAudit, AuditRecord
from tests.patience import PATIENCE_S
from tests.people import Cast
from tests.tenants.facts import end_fact, start_fact

TENANTS = (uuid.UUID(int=1), uuid.UUID(int=2), None)

pytestmark = [pytest.mark.django_db, pytest.mark.criterion("6.10")]


def audit_rows(count: int, *, at: dt.datetime | None = None, tenant: uuid.UUID | None = None) -> None:
    AuditRecord.objects.bulk_create(
        AuditRecord(
            request_id=uuid.uuid4().hex,
            tenant_id=tenant,
            endpoint="/v1/models",
            status=200,
            outcome="completed",
            duration_s=0.1,
            at=at or timezone.now(),
        )
        for _ in range(count)
    )


def faults(trail: Trail = Trail.REQUESTS) -> list[str]:
    return [finding.fault for finding in audit_verify(trail).findings]


@pytest.fixture
def seals() -> None:
    for _ in range(3):
        for tenant in TENANTS:
            audit_rows(2, tenant=tenant)
        audit_seal(Trail.REQUESTS)


@pytest.fixture
def changes() -> Iterator[None]:
    for number in range(3):
        admin_audit_record(
            actor="a", action="key.create", object_id=str(number), object_name="k", after={"n": number}
        )
    audit_seal(Trail.CHANGES)
    with connection.cursor() as cursor:  # the attacker has the database's password
        cursor.execute("ALTER TABLE tenants_adminaudit DISABLE TRIGGER adminaudit_append_only")
    yield
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE tenants_adminaudit ENABLE TRIGGER adminaudit_append_only")


def test_untouched_trails_match_their_seals(seals: None, changes: None) -> None:
    result = audit_verify(Trail.REQUESTS)
    assert (result.seals, result.records, result.findings) == (9, 18, ())
    assert audit_verify(Trail.CHANGES).records == 3
    assert faults(Trail.CHANGES) == []
    assert audit_seal(Trail.REQUESTS) == 0, "nothing is sealed twice"


def test_an_edited_record_is_found(seals: None) -> None:
    record = AuditRecord.objects.filter(tenant_id=TENANTS[0]).order_by("id")[3]
    AuditRecord.objects.filter(id=record.id).update(status=500)
    (finding,) = audit_verify(Trail.REQUESTS).findings
    assert finding.fault == "a record was changed"
    assert finding.tenant_id == TENANTS[0]
    assert (finding.first_id or 0) <= record.id <= (finding.last_id or 0)


@pytest.mark.parametrize("values", [{"error_param": "n"}, {"requested_model": "m"}, {"error_param": ""}])
def test_an_edit_of_a_later_column_is_found(values: dict[str, str]) -> None:
    facts_store([msgspec.structs.replace(end_fact(), error_param="temperature")], now=timezone.now())
    audit_seal(Trail.REQUESTS)
    assert faults() == []
    AuditRecord.objects.update(**values)
    assert faults() == ["a record was changed"]


def test_a_deleted_record_is_found(seals: None) -> None:
    AuditRecord.objects.order_by("id")[4].delete()
    assert faults() == ["records were deleted: 1"]


def test_an_inserted_record_is_found_under_an_old_id_and_after_the_last_seal(seals: None) -> None:
    first = AuditRecord.objects.filter(tenant_id=TENANTS[1]).order_by("id")[0]
    other = AuditRecord.objects.filter(tenant_id=TENANTS[0]).order_by("-id")[0]
    AuditRecord.objects.filter(id=other.id).update(id=first.id - 100_000)
    assert sorted(faults()) == ["records were deleted: 1", "records were inserted: 1"]


def test_a_record_of_a_tenant_without_seals_is_found(seals: None) -> None:
    audit_rows(1, tenant=uuid.UUID(int=9))
    assert faults() == [], "not sealed yet"
    AuditRecord.objects.filter(tenant_id=uuid.UUID(int=9)).update(id=-5)
    assert faults() == ["records were inserted, or all their seals deleted"]


def test_a_record_moved_to_another_tenant_is_found(seals: None) -> None:
    record = AuditRecord.objects.filter(tenant_id=TENANTS[0]).order_by("id")[0]
    AuditRecord.objects.filter(id=record.id).update(tenant_id=TENANTS[1])
    assert sorted(faults()) == ["records were deleted: 1", "records were inserted: 1"]


def test_deleted_seals_are_found(seals: None) -> None:
    last = AuditSeal.objects.filter(tenant_id=TENANTS[0]).order_by("-number")[0]
    AuditRecord.objects.filter(tenant_id=TENANTS[0]).order_by("-id")[0].delete()
    AuditRecord.objects.filter(tenant_id=TENANTS[0]).order_by("-id")[0].delete()
    last.delete()
    assert faults() == ["seals were deleted or inserted"]
    SealPosition.objects.update(seal_count=8)
    assert faults() == ["the position of the seals was changed"]


@pytest.mark.parametrize(
    "values",
    [
        {"digest": "0" * 64},
        {"chain": "0" * 64},
        {"last_id": 1},
        {"record_count": 1},
        {"newest_at": timezone.now()},
    ],
)
def test_a_changed_seal_is_found(seals: None, values: dict[str, object]) -> None:
    seal = AuditSeal.objects.filter(tenant_id=TENANTS[0]).order_by("number")[1]
    AuditSeal.objects.filter(id=seal.id).update(**values)
    assert faults()


def test_each_column_of_a_change_is_sealed(changes: None) -> None:
    values = {
        "at": timezone.now(),
        "actor": "b",
        "action": "x",
        "object_id": "x",
        "object_name": "x",
        "tenant_id": TENANTS[0],
        "before": {"n": 1},
        "after": {"n": 9},
        "request_id": "req_other",
    }
    for column, value in values.items():
        with transaction.atomic():
            AdminAudit.objects.filter(object_id="1").update(**{column: value})
            assert faults(Trail.CHANGES), column
            transaction.set_rollback(True)
    assert faults(Trail.CHANGES) == []


def test_a_purge_leaves_a_chain_that_can_be_verified_and_is_itself_sealed() -> None:
    now = timezone.now()
    for days in (9, 8, 7, 1):
        for tenant in TENANTS:
            audit_rows(2, at=now - dt.timedelta(days=days), tenant=tenant)
            audit_seal(Trail.REQUESTS)
    assert audit_retention(now=now - dt.timedelta(days=6), default_days=0, actor="tests", batch=4) == 18
    assert audit_retention(now=now - dt.timedelta(days=6), default_days=0, actor="tests") == 0
    assert faults() == []
    audit_rows(1, tenant=TENANTS[0])
    audit_seal(Trail.REQUESTS)
    assert audit_verify(Trail.REQUESTS).records == 7
    assert faults() == []
    audit_seal(Trail.CHANGES)
    assert faults(Trail.CHANGES) == []


def test_a_purge_does_not_hide_a_record_inserted_among_purged_ones() -> None:
    now = timezone.now()
    for days in (9, 7, 1):
        audit_rows(2, at=now - dt.timedelta(days=days), tenant=TENANTS[0])
        audit_seal(Trail.REQUESTS)
    purged_id = AuditRecord.objects.order_by("id")[0].id
    assert audit_retention(now=now - dt.timedelta(days=8), default_days=0, actor="tests") == 2
    audit_rows(1, at=now - dt.timedelta(days=9), tenant=TENANTS[0])
    AuditRecord.objects.filter(id=AuditRecord.objects.latest("id").id).update(id=purged_id)
    assert faults() == ["records were inserted: 1"]
    assert audit_retention(now=now - dt.timedelta(days=6), default_days=0, actor="tests") == 2
    assert faults() == ["records were inserted: 1"]


def test_deletion_disguised_as_a_purge_is_found(seals: None) -> None:
    seal = AuditSeal.objects.filter(tenant_id=TENANTS[0]).order_by("number")[0]
    AuditRecord.objects.filter(tenant_id=TENANTS[0], id__lte=seal.last_id).delete()
    AuditSeal.objects.filter(id=seal.id).update(purged_at=timezone.now())
    assert faults() == ["records are marked as purged, but no purge is recorded"]


def test_a_seal_never_spans_days() -> None:
    midnight = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    audit_rows(2, at=midnight - dt.timedelta(seconds=1))
    audit_rows(2, at=midnight)
    audit_seal(Trail.REQUESTS)
    assert list(AuditSeal.objects.order_by("number").values_list("record_count", flat=True)) == [2, 2]


def test_the_command_verifies_seals_and_names_the_fault(seals: None) -> None:
    out, errors = StringIO(), StringIO()
    call_command("audit", "seal", stdout=out)
    call_command("audit", "verify", stdout=out, stderr=errors)
    assert errors.getvalue() == ""
    AuditRecord.objects.order_by("id")[0].delete()
    with pytest.raises(CommandError, match=r"deviates from its seals in 1 place\."):
        call_command("audit", "verify", stdout=out, stderr=errors)
    assert "records were deleted: 1" in errors.getvalue()


def test_the_command_names_tenants_and_no_impossible_record(cast: Cast) -> None:
    audit_rows(2, tenant=cast.acme.id)
    audit_rows(2)
    for trail in Trail:
        audit_seal(trail)
    for record in AuditRecord.objects.filter(status=200).order_by("id")[::2]:
        record.delete()
    last_ids = AuditSeal.objects.filter(trail=Trail.REQUESTS).values_list("tenant_id", "last_id")
    out, errors = StringIO(), StringIO()
    with pytest.raises(CommandError, match=r"in 2 places\."):
        call_command("audit", "verify", "--json", stdout=out, stderr=errors)
    assert {
        f"requests, {'tenant acme, ' if tenant_id else ''}records up to {last_id}: records were deleted: 1"
        for tenant_id, last_id in last_ids
    } == set(errors.getvalue().splitlines())
    result = next(row for row in json.loads(out.getvalue()) if row["trail"] == "requests")
    assert {finding["tenant"] for finding in result["findings"]} == {"acme", None}
    assert {head["tenant"] for head in result["heads"]} == {"acme", None}
    assert {finding["first_id"] for finding in result["findings"]} == {None}


@pytest.mark.django_db(transaction=True)
def test_a_change_that_commits_late_is_sealed_late_and_never_missed() -> None:
    is_written, may_commit = threading.Event(), threading.Event()

    def write_slowly() -> None:
        with transaction.atomic():
            admin_audit_record(actor="slow", action="a.b", object_id="1", object_name="x", after={})
            is_written.set()
            may_commit.wait(PATIENCE_S)
        connections.close_all()

    thread = threading.Thread(target=write_slowly)
    thread.start()
    assert is_written.wait(PATIENCE_S)
    with transaction.atomic():
        admin_audit_record(actor="fast", action="a.b", object_id="2", object_name="x", after={})
    assert audit_seal(Trail.CHANGES) == 0, "the slow writer's record may still get a lower id"
    may_commit.set()
    thread.join()
    assert audit_seal(Trail.CHANGES) == 2
    assert faults(Trail.CHANGES) == []


def test_a_late_end_replaces_the_record_of_a_lost_request_only_until_it_is_sealed() -> None:
    for request_id in ("r1", "r2"):
        facts_store([start_fact(request_id)], now=timezone.now())
        AuditRecord.objects.create(
            request_id=request_id, outcome="lost", endpoint="/v1/models", duration_s=0, at=timezone.now()
        )
        facts_store([end_fact(request_id)], now=timezone.now())
        audit_seal(Trail.REQUESTS)
    assert set(AuditRecord.objects.values_list("outcome", flat=True)) == {"completed"}
    AuditRecord.objects.create(
        request_id="r3", outcome="lost", endpoint="/v1/models", duration_s=0, at=timezone.now()
    )
    audit_seal(Trail.REQUESTS)
    facts_store([start_fact("r3"), end_fact("r3")], now=timezone.now())
    assert AuditRecord.objects.get(request_id="r3").outcome == "lost"
    assert faults() == []


def test_after_a_change_of_the_secret_key_old_seals_are_verified_with_the_old_one(seals: None) -> None:
    old, new = settings.SECRET_KEY, "another-secret-key-of-more-than-32-characters"
    try:
        with override_settings(SECRET_KEY=new):
            digests._keys.cache_clear()
            assert len(faults()) == 10
            assert all("neither CYLLM_SECRET_KEY" in fault for fault in faults())
        with override_settings(SECRET_KEY=new, SECRET_KEY_FALLBACKS=[old]):
            digests._keys.cache_clear()
            assert faults() == []
            audit_rows(1)
            audit_seal(Trail.REQUESTS)
            assert faults() == []
    finally:
        digests._keys.cache_clear()


def test_a_forged_purge_is_found(seals: None, changes: None) -> None:
    for trail in Trail:
        last = AuditSeal.objects.filter(trail=trail).order_by("-id")[0]
        records = AdminAudit if trail is Trail.CHANGES else AuditRecord
        records._default_manager.filter(Q(tenant_id=last.tenant_id), id__lte=last.last_id).delete()
        older = AuditSeal.objects.filter(trail=trail, tenant_id=last.tenant_id, number__lt=last.number)
        older.delete()
        AuditSeal.objects.filter(id=last.id).update(purged_at=timezone.now())
        before = {"seal": last.number, "chain": last.chain, "records": 1}
        AdminAudit.objects.create(
            actor="x",
            action="audit.purge",
            object_id="audit",
            object_name="x",
            tenant_id=last.tenant_id,
            before=before,
        )
        assert faults(trail) == ["records are marked as purged, but no purge is recorded"]


def test_a_trail_whose_seals_were_all_deleted_is_found(seals: None) -> None:
    AuditRecord.objects.update(at=timezone.now() - dt.timedelta(hours=1))
    AuditSeal.objects.all().delete()
    SealPosition.objects.all().delete()
    assert faults() == ["nothing is sealed, or the position of the seals was deleted"]


def test_a_return_to_an_earlier_state_is_found_with_an_earlier_verification(
    seals: None, tmp_path: Path
) -> None:
    old_position = SealPosition.objects.filter(trail=Trail.REQUESTS).values().get()
    old_seal = AuditSeal.objects.order_by("-id")[0].id
    audit_rows(2)
    audit_seal(Trail.REQUESTS)
    out, earlier = StringIO(), tmp_path / "verified.json"
    call_command("audit", "verify", "--json", stdout=out)
    earlier.write_text(out.getvalue())
    call_command("audit", "verify", "--since", str(earlier), stdout=out)
    AuditSeal.objects.filter(id__gt=old_seal).delete()
    SealPosition.objects.filter(trail=Trail.REQUESTS).update(**old_position)
    AuditRecord.objects.filter(id__gt=old_position["last_id"]).update(status=500)
    audit_seal(Trail.REQUESTS)
    assert faults() == [], "the database alone can't tell"
    errors = StringIO()
    with pytest.raises(CommandError):
        call_command("audit", "verify", "--since", str(earlier), stdout=out, stderr=errors)
    assert "of an earlier verification is gone" in errors.getvalue()
    earlier.write_text("[1]")
    with pytest.raises(CommandError, match="is not the output of"):
        call_command("audit", "verify", "--since", str(earlier), stdout=out)
