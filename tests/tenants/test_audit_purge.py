"""Old audit records are purged in small batches, and each purge is itself audited."""

from __future__ import annotations

import datetime as dt
import io
import threading

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from tenants import tasks
from tenants.audit_trail.models import AuditSeal, Trail
from tenants.audit_trail.purge import audit_purge, audit_retention
from tenants.audit_trail.sealing import audit_seal
from tenants.audit_trail.verification import audit_verify
from tenants.models import AdminAudit, AuditRecord, Tenant
from tenants.usage.models import RefusalCount
from tests.commands import run, run_json
from tests.patience import PATIENCE_S
from tests.people import Cast

pytestmark = pytest.mark.django_db


def audit_rows(count: int, *, at: dt.datetime, tenant: Tenant | None = None) -> None:
    AuditRecord.objects.bulk_create(
        AuditRecord(
            tenant=tenant,
            request_id=f"{at:%Y%m%d%H%M%S%f}-{number}-{tenant}",
            status=200,
            outcome="completed",
            duration_s=0.1,
            at=at,
        )
        for number in range(count)
    )


@pytest.mark.criterion("5.10")
def test_records_past_their_retention_are_purged_and_the_purge_is_audited() -> None:
    days = settings.CYLLM.audit_retention_days
    old = timezone.now() - dt.timedelta(days=days, minutes=1)
    recent = timezone.now() - dt.timedelta(days=days) + dt.timedelta(minutes=1)
    audit_rows(5, at=old)
    audit_seal(Trail.REQUESTS)
    audit_rows(3, at=recent)
    assert tasks.audit_purge_task() == 5
    assert set(AuditRecord.objects.values_list("at", flat=True)) == {recent}
    purge = AdminAudit.objects.get()
    assert (purge.actor, purge.action) == ("system:audit-purge", "audit.purge")
    assert purge.before is not None
    assert purge.before["records"] == 5


@pytest.mark.criterion("5.10")
@pytest.mark.case("serving.38")
def test_a_purge_deletes_batches_oldest_first() -> None:
    now = timezone.now()
    for day in range(7, 0, -1):
        audit_rows(1, at=now - dt.timedelta(days=day))
    assert (
        audit_retention(now=now - dt.timedelta(days=2, hours=1), default_days=0, actor="tests", batch=2) == 5
    )
    assert AuditRecord.objects.count() == 2
    purges = AdminAudit.objects.order_by("id").values_list("before", flat=True)
    assert [before["records"] for before in purges if before] == [2, 2, 1]


SEALS_LOST = "seals were deleted or inserted"


def damage(change: str) -> None:
    """Make the third of the seals deviate."""
    seal = AuditSeal.objects.order_by("number")[2]
    records = AuditRecord.objects.filter(id=seal.last_id)
    match change:
        case "a record changed":
            records.update(status=500)
        case "a record deleted":
            records.delete()
        case "a seal changed":
            AuditSeal.objects.filter(id=seal.id).update(newest_at=seal.newest_at - dt.timedelta(hours=1))
        case "a seal deleted with its records":
            records.delete()
            seal.delete()
        case "records marked as purged":
            AuditSeal.objects.filter(id=seal.id).update(purged_at=timezone.now())


@pytest.mark.criterion("5.10")
@pytest.mark.parametrize("batch", [1, 2, 1000])
@pytest.mark.parametrize(
    "change",
    [
        *("a record changed", "a record deleted", "a seal changed", "a seal deleted with its records"),
        "records marked as purged",
    ],
)
def test_the_retention_keeps_what_deviates_and_all_after_it(
    caplog: pytest.LogCaptureFixture, change: str, batch: int
) -> None:
    now = timezone.now()
    for day in range(6, 0, -1):
        audit_rows(1, at=now - dt.timedelta(days=day))
        audit_seal(Trail.REQUESTS)
    damage(change)
    faults = [finding.fault for finding in audit_verify(Trail.REQUESTS).findings]
    assert len(faults) >= 1
    assert audit_retention(now=now, default_days=0, actor="tests", batch=batch) == 2
    assert audit_retention(now=now, default_days=0, actor="tests", batch=batch) == 0
    assert AuditRecord.objects.count() in (3, 4)
    assert [finding.fault for finding in audit_verify(Trail.REQUESTS).findings] == faults
    assert "are not deleted" in caplog.text
    audit_purge(before=now, actor="tests", accept_damage=True)
    assert not AuditRecord.objects.exists()
    assert {finding.fault for finding in audit_verify(Trail.REQUESTS).findings} <= {SEALS_LOST}


def test_damage_of_one_tenant_does_not_keep_the_records_of_others(cast: Cast) -> None:
    now = timezone.now()
    for tenant in (cast.acme, cast.globex):
        audit_rows(2, at=now - dt.timedelta(days=5), tenant=tenant)
    audit_seal(Trail.REQUESTS)
    AuditRecord.objects.filter(tenant=cast.acme).update(status=500)
    assert audit_retention(now=now, default_days=0, actor="tests") == 2
    assert set(AuditRecord.objects.values_list("tenant", flat=True)) == {cast.acme.id}


def test_a_purge_of_nothing_is_not_audited() -> None:
    audit_rows(1, at=timezone.now())
    assert tasks.audit_purge_task() == 0
    assert not AdminAudit.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_purges_at_the_same_time_delete_each_record_once() -> None:
    now = timezone.now()
    for day in range(40, 0, -1):
        audit_rows(1, at=now - dt.timedelta(days=day))
        audit_seal(Trail.REQUESTS)
    counts: list[int] = []
    start = threading.Barrier(2)

    def purge() -> None:
        try:
            start.wait(PATIENCE_S)
            counts.append(audit_retention(now=now, default_days=0, actor="tests", batch=1))
        finally:
            connection.close()

    threads = [threading.Thread(target=purge) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(counts), sum(counts)) == (2, 40)
    purges = AdminAudit.objects.filter(action="audit.purge").values_list("before", flat=True)
    assert [before["records"] for before in purges if before] == [1] * 40
    assert audit_verify(Trail.REQUESTS).findings == ()


def refusals(tenant: Tenant, *, at: dt.datetime) -> None:
    RefusalCount.objects.create(
        fact_id=f"{tenant.slug} {at}", tenant=tenant, minute_at=at, gateway_id="gw", status=429, requests=9
    )


@pytest.mark.criterion("5.10")
def test_the_command_counts_and_with_yes_deletes_a_tenants_old_records(cast: Cast) -> None:
    midnight = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    for days in (5, 4, 2):
        for tenant in (cast.acme, cast.globex):
            audit_rows(2, at=midnight - dt.timedelta(days=days), tenant=tenant)
            refusals(tenant, at=midnight - dt.timedelta(days=days))
    audit_seal(Trail.REQUESTS)
    bounds = ("--before", f"{midnight - dt.timedelta(days=3):%Y-%m-%d}", "--tenant", "acme")
    counts = {"audit_records": 4, "counts_of_refusals": 2}
    assert run_json("audit", "purge", *bounds).items() >= {**counts, "deleted": False}.items()
    text = run("audit", "purge", *bounds)
    assert "audit records: 4, counts of refusals: 2. Nothing is deleted without --yes." in text
    assert AuditRecord.objects.count() == 12
    assert run_json("audit", "purge", *bounds, "--yes").items() >= {**counts, "deleted": True}.items()
    assert (AuditRecord.objects.filter(tenant=cast.acme).count(), AuditRecord.objects.count()) == (2, 8)
    assert RefusalCount.objects.count() == 4
    purges = AdminAudit.objects.filter(action__startswith="audit.purge")
    assert {(purge.action, purge.tenant_id, purge.actor[:4]) for purge in purges} == {
        ("audit.purge", cast.acme.id, "cli:"),
        ("audit.purge_refusals", cast.acme.id, "cli:"),
    }
    assert audit_verify(Trail.REQUESTS).findings == ()
    assert run_json("audit", "purge", *bounds[:2], "--yes")["audit_records"] == 4
    assert audit_verify(Trail.REQUESTS).findings == ()


def test_the_command_keeps_the_traces_of_deviations_unless_told_otherwise(cast: Cast) -> None:
    at = timezone.now() - dt.timedelta(days=5)
    audit_rows(2, at=at, tenant=cast.acme)
    audit_rows(2, at=timezone.now(), tenant=cast.globex)
    audit_seal(Trail.REQUESTS)
    AuditRecord.objects.filter(tenant=cast.acme).update(status=500)
    count = ("audit", "purge", "--before", f"{at + dt.timedelta(days=2):%Y-%m-%d}")
    errors = io.StringIO()
    call_command(*count, stdout=io.StringIO(), stderr=errors)
    assert "With --yes: Nothing is deleted" in errors.getvalue()
    bounds = (*count, "--yes")
    with pytest.raises(CommandError, match="Nothing is deleted"):
        call_command(*bounds, stderr=errors)
    assert "tenant acme" in errors.getvalue()
    assert "a record was changed" in errors.getvalue()
    assert AuditRecord.objects.filter(tenant=cast.acme).count() == 2
    call_command(*bounds, "--accept-damage", stdout=io.StringIO(), stderr=errors)
    assert not AuditRecord.objects.filter(tenant=cast.acme).exists()


def test_a_purge_of_the_future_is_refused() -> None:
    with pytest.raises(CommandError, match="must not be in the future"):
        run("audit", "purge", "--before", "2999-01-01", "--yes")
    with pytest.raises(CommandError, match="--before"):
        run("audit", "purge", "--yes")
