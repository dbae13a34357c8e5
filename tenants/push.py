"""Pushes changes of keys and tenants to the gateways once they are committed."""

from __future__ import annotations

import uuid
from functools import partial

from django.conf import settings
from django.db import transaction

from inference_worker.transport import changes


def _push_on_commit(change: str) -> None:
    transaction.on_commit(partial(changes.publish, settings.CYLLM.redis_url, change))


def key_push(prefix: str) -> None:
    """After the commit, tell gateways that the key with this prefix has changed."""
    _push_on_commit(changes.key_changed(prefix))


def tenant_push(tenant_id: uuid.UUID) -> None:
    """After the commit, tell gateways that this tenant has changed."""
    _push_on_commit(changes.tenant_changed(tenant_id))
