"""Audit records of administrative changes, written in the transaction of the change."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import TypeAlias

from django.db import transaction

from backoffice.request_ids import request_id
from tenants.locks import change_lock_shared
from tenants.models import AdminAudit

Values: TypeAlias = Mapping[str, object]


def admin_audit_record(
    *,
    actor: str,
    action: str,
    object_id: str,
    object_name: str,
    tenant_id: uuid.UUID | None = None,
    before: Values | None = None,
    after: Values | None = None,
) -> AdminAudit:
    """Record that ``actor`` applied ``action`` (such as ``key.revoke``) to an object.

    ``before`` and ``after`` hold JSON values, never secrets; None means that the object did not exist.
    Only their differences are stored. Raises TransactionManagementError outside a transaction, because
    the record and the change must commit together.
    """
    if not transaction.get_connection().in_atomic_block:
        raise transaction.TransactionManagementError("administrative changes require a transaction")
    change_lock_shared()
    if before is not None and after is not None:
        before, after = _differences(before, after)
    return AdminAudit.objects.create(
        actor=actor[:200],
        action=action,
        object_id=object_id,
        object_name=object_name[:250],
        tenant_id=tenant_id,
        before=before,
        after=after,
        request_id=request_id.get(),
    )


def _differences(before: Values, after: Values) -> tuple[Values, Values]:
    names = [name for name in after if before.get(name) != after[name]]
    return {name: before.get(name) for name in names}, {name: after[name] for name in names}
