"""Old audit records are purged in small batches, and each purge is itself audited."""

from __future__ import annotations

import datetime as dt

import pytest
from django.conf import settings
from django.utils import timezone

from tenants import tasks
from tenants.audit_purge import audit_purge
from tenants.models import AdminAudit, AuditRecord

pytestmark = pytest.mark.django_db


def audit_rows(count: int, *, at: dt.datetime) -> None:
    AuditRecord.objects.bulk_create(
        AuditRecord(
            request_id=f"{at:%Y%m%d%H%M%S%f}-{number}",
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
    audit_rows(3, at=recent)
    assert tasks.audit_purge_task() == 5
    assert set(AuditRecord.objects.values_list("at", flat=True)) == {recent}
    purge = AdminAudit.objects.get()
    assert (purge.actor, purge.action, purge.before) == ("system:audit-purge", "audit.purge", {"records": 5})


@pytest.mark.criterion("5.10")
def test_a_purge_deletes_batches_oldest_first() -> None:
    now = timezone.now()
    for day in range(1, 8):
        audit_rows(1, at=now - dt.timedelta(days=day))
    assert audit_purge(before=now - dt.timedelta(days=2, hours=1), actor="tests", batch=2) == 5
    assert AuditRecord.objects.count() == 2
    sizes = AdminAudit.objects.order_by("id").values_list("before", flat=True)
    assert list(sizes) == [{"records": 2}, {"records": 2}, {"records": 1}]


def test_a_purge_of_nothing_is_not_audited() -> None:
    audit_rows(1, at=timezone.now())
    assert tasks.audit_purge_task() == 0
    assert not AdminAudit.objects.exists()
