"""Spend reserved for work that no gateway meters, such as open fine-tuning jobs.

Rebuilt counters contain it as spend of the current day and month, so requests can't use it up.
"""

from __future__ import annotations

import uuid
from functools import partial

from django.db import transaction

from tenants.models import SpendReservation
from tenants.quotas.counters.forgetting import spend_changed


def spend_reserve(*, source_id: str, tenant_id: uuid.UUID, key_id: uuid.UUID | None, amount: int) -> None:
    """Set the reservation of some work to what it may still cost, in micro-dollars; 0 releases it.

    Call it in the transaction that changes the work; counters follow once that is committed.
    """
    before = SpendReservation.objects.filter(source_id=source_id).values_list("amount_microusd", flat=True)
    if (before.first() or 0) == amount:
        return
    if amount:
        SpendReservation.objects.update_or_create(
            source_id=source_id,
            defaults={"tenant_id": tenant_id, "key_id": key_id, "amount_microusd": amount},
        )
    else:
        SpendReservation.objects.filter(source_id=source_id).delete()
    transaction.on_commit(partial(spend_changed, tenant_id))
