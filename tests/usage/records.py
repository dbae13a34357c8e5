"""Usage records as the ledger writes them."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any

from django.utils import timezone

from tenants.models import Tenant, UsageRecord
from tenants.usage.models import RefusalCount

BATCH_SIZE = 2000
_numbers = itertools.count()


def usage_record(started_at: str | dt.datetime, **columns: Any) -> UsageRecord:
    """Insert the record of a completed request; ``started_at`` may be an ISO time."""
    record = _new_record(started_at, columns)
    record.save(force_insert=True)
    return record


def usage_at(tenant: Tenant, *moments: dt.datetime, **columns: Any) -> list[UsageRecord]:
    """Insert the record of a completed chat at each moment; it costs 20 micro-dollars."""
    chat = {"correlation_id": "c", "worker_id": "worker-1", "status": 200, "cost_microusd": 20}
    records = [_new_record(at, chat | columns | {"tenant": tenant}) for at in moments]
    return UsageRecord.objects.bulk_create(records, batch_size=BATCH_SIZE)


def refusal_count(tenant: Tenant, **columns: Any) -> RefusalCount:
    """Insert a count of requests refused in the current minute."""
    values: dict[str, Any] = {
        "fact_id": f"r{next(_numbers)}",
        "minute_at": timezone.now().replace(second=0, microsecond=0),
        "gateway_id": "gw-1",
        "endpoint": "/v1/chat/completions",
        "error_code": "rate_limit_exceeded",
        "status": 429,
        "requests": 7,
    }
    return RefusalCount.objects.create(**values | columns, tenant=tenant)


def _new_record(started_at: str | dt.datetime, columns: dict[str, Any]) -> UsageRecord:
    at = dt.datetime.fromisoformat(started_at) if isinstance(started_at, str) else started_at
    values: dict[str, Any] = {
        "request_id": f"u{next(_numbers)}",
        "model": "tiny",
        "endpoint": "/v1/chat/completions",
        "gateway_id": "gw-1",
        "state": "settled",
        "outcome": "completed",
        "meter_source": "worker",
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "cost_microusd": 100,
        "started_at": at,
        "settled_at": at,
        "updated_at": at,
    }
    return UsageRecord(**values | columns)
