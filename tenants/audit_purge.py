"""Deletes old audit records in small pieces, so that no writer waits for it."""

from __future__ import annotations

import datetime as dt

from django.db import transaction

from tenants.admin_audit import admin_audit_record
from tenants.models import AuditRecord

BATCH = 1000


def audit_purge(*, before: dt.datetime, actor: str, batch: int = BATCH) -> int:
    """Delete audit records older than ``before``; their number, which is audited too.

    Each piece of ``batch`` records is a transaction of its own, with its own entry in the trail, so
    that a purge that breaks off has recorded what it did.
    """
    deleted = 0
    while piece := _purge_piece(before, actor, batch):
        deleted += piece
    return deleted


@transaction.atomic
def _purge_piece(before: dt.datetime, actor: str, batch: int) -> int:
    oldest = AuditRecord.objects.filter(at__lt=before).order_by("at").values_list("id", flat=True)[:batch]
    deleted, _ = AuditRecord.objects.filter(id__in=list(oldest)).delete()
    if deleted:
        admin_audit_record(
            actor=actor,
            action="audit.purge",
            object_id="audit",
            object_name=f"audit records before {before.isoformat()}",
            before={"records": deleted},
            after=None,
        )
    return deleted
