"""Audit rows and change notifications for every change of the registry.

The administrative audit trail is in a package that this one may not import. The setting ``ADMIN_AUDIT``
names the function that appends to it; without it every change fails.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from functools import partial
from typing import Protocol, cast

from django.conf import settings
from django.db import transaction
from django.utils.module_loading import import_string

from inference_worker.transport import changes


class AdminAudit(Protocol):
    """A function that appends a row to the administrative audit trail in the current transaction."""

    def __call__(
        self,
        *,
        actor: str,
        action: str,
        object_id: str,
        object_name: str,
        tenant_id: uuid.UUID | None = None,
        before: Mapping[str, object] | None = None,
        after: Mapping[str, object] | None = None,
    ) -> object: ...


def change_record(
    *,
    actor: str,
    action: str,
    model_id: int,
    model_name: str,
    tenant_id: uuid.UUID | None = None,
    before: Mapping[str, object] | None = None,
    after: Mapping[str, object] | None = None,
) -> None:
    """Append to the audit trail and, on commit, notify the gateways that the models have changed."""
    record = cast("AdminAudit", import_string(settings.ADMIN_AUDIT))
    record(
        actor=actor,
        action=action,
        object_id=str(model_id),
        object_name=model_name,
        tenant_id=tenant_id,
        before=before,
        after=after,
    )
    transaction.on_commit(partial(changes.publish, settings.CYLLM.redis_url, changes.MODELS))
