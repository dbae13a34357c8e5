"""Storage of counts of refused requests."""

from __future__ import annotations

from collections.abc import Iterable

from inference_worker.protocol.messages import RequestsRefused
from tenants.ledger.column_values import (
    MAX_ERROR_CODE,
    MAX_ID,
    MAX_NAME,
    column_text,
    optional_uuid,
    utc_time,
)
from tenants.usage.models import RefusalCount

MAX_NETWORK = 43


def refusals_save(facts: Iterable[RequestsRefused]) -> None:
    """Insert the counts; those stored before are ignored."""
    rows = [
        RefusalCount(
            fact_id=fact.fact_id,
            minute_at=utc_time(fact.minute_at),
            gateway_id=column_text(fact.gateway_id, MAX_ID),
            tenant_id=optional_uuid(fact.tenant_id),
            key_id=optional_uuid(fact.key_id),
            key_prefix=column_text(fact.key_prefix, 12),
            client_network=column_text(fact.client_network, MAX_NETWORK),
            endpoint=column_text(fact.endpoint, MAX_NAME),
            error_code=column_text(fact.error_code, MAX_ERROR_CODE),
            status=fact.status,
            requests=fact.requests,
        )
        for fact in facts
    ]
    RefusalCount.objects.bulk_create(rows, ignore_conflicts=True)
