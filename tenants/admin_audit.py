"""Records administrative changes, in the transaction of the change itself."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import TypeAlias

from django.db import transaction

from tenants.models import AdminAudit

Facts: TypeAlias = Mapping[str, object]


def admin_audit_record(
    *,
    actor: str,
    action: str,
    object_id: str,
    object_name: str,
    tenant_id: uuid.UUID | None = None,
    before: Facts | None = None,
    after: Facts | None = None,
) -> AdminAudit:
    """Append a row: ``actor`` did ``action`` (``key.revoke``) to an object.

    Of ``before`` and ``after`` (what JSON can hold, never secrets) only what differs is kept; either is
    None where the object did not exist. Raises TransactionManagementError outside a transaction,
    because the row must stand or fall with the change.
    """
    if not transaction.get_connection().in_atomic_block:
        raise transaction.TransactionManagementError("an administrative change needs a transaction")
    if before is not None and after is not None:
        changed = [name for name in after if before.get(name) != after[name]]
        before = {name: before.get(name) for name in changed}
        after = {name: after[name] for name in changed}
    return AdminAudit.objects.create(
        actor=actor[:200],
        action=action,
        object_id=object_id,
        object_name=object_name[:250],
        tenant_id=tenant_id,
        before=before,
        after=after,
    )
