"""Publication of changed keys and tenants to the gateways, once the change is committed."""

from __future__ import annotations

import uuid
from functools import partial

from django.conf import settings
from django.db import transaction

from inference_worker.transport import changes


def key_publish(prefix: str) -> None:
    """On commit, notify the gateways that the key with this prefix has changed."""
    _publish_on_commit(changes.key_changed(prefix))


def tenant_publish(tenant_id: uuid.UUID) -> None:
    """On commit, notify the gateways that this tenant has changed."""
    _publish_on_commit(changes.tenant_changed(tenant_id))


def _publish_on_commit(change: str) -> None:
    transaction.on_commit(partial(changes.publish, settings.CYLLM.redis_url, change))
