"""Deletion of old audit records in small batches, so that it does not block writers."""

from __future__ import annotations

import datetime as dt

from django.db import transaction

from tenants.admin_audit import admin_audit_record
from tenants.models import AuditRecord

BATCH = 1000


def audit_purge(*, before: dt.datetime, actor: str, batch: int = BATCH) -> int:
    """Delete the audit records older than ``before``. Returns their number.

    Each batch is one transaction with its own administrative audit record, so that an interrupted purge
    has recorded exactly what it deleted.
    """
    count = 0
    while batch_count := _purge_batch(before, actor, batch):
        count += batch_count
    return count


@transaction.atomic
def _purge_batch(before: dt.datetime, actor: str, batch: int) -> int:
    oldest = AuditRecord.objects.filter(at__lt=before).order_by("at").values_list("id", flat=True)[:batch]
    count, _ = AuditRecord.objects.filter(id__in=list(oldest)).delete()
    if count:
        admin_audit_record(
            actor=actor,
            action="audit.purge",
            object_id="audit",
            object_name=f"audit records before {before.isoformat()}",
            before={"records": count},
            after=None,
        )
    return count
