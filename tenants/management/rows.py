"""Rows of usage and audit records, and of their sums, for tables, JSON and CSV."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from backoffice.display.money import dollars
from tenants.models import ApiKey, AuditRecord, Tenant, UsageRecord
from tenants.usage.rebuild import Deviation
from tenants.usage.sums import MEASURES, Dimension, UsageGroup

SHORT_ID = 16


def id_text(request_id: str, width: int | None) -> str:
    """Return the id of a request or command for a table. ``width``: of the terminal, if there is one.

    A terminal gets the beginning of a long id, which all commands accept.
    """
    is_long = width is not None and request_id.startswith(("req_", "cmd_"))
    return request_id[:SHORT_ID] if is_long else request_id


def usage_columns(record: UsageRecord) -> dict[str, object]:
    """Return the columns of a usage record, for JSON."""
    return {
        "started_at": record.started_at,
        "tenant": record.tenant.slug if record.tenant else None,
        "model": record.model,
        "state": record.state,
        "outcome": record.outcome,
        "prompt_tokens": record.prompt_tokens,
        "completion_tokens": record.completion_tokens,
        "trained_tokens": record.trained_tokens,
        "wasted_tokens": record.wasted_tokens,
        "cost_microusd": record.cost_microusd,
        "is_charged": record.is_charged,
        "prices_microusd": {
            "prompt": record.prompt_price,
            "cached": record.cached_price,
            "completion": record.completion_price,
            "training": record.training_price,
        },
        "total_s": record.total_s,
        "first_token_s": record.first_token_s,
        "tokens_per_s": record.tokens_per_s,
        **_request_columns(record),
    }


def _request_columns(record: UsageRecord) -> dict[str, object]:
    return {
        "request_id": record.request_id,
        "correlation_id": record.correlation_id,
        "key_prefix": record.key.prefix if record.key else None,
        "endpoint": record.endpoint,
        "streamed": record.streamed,
        "status": record.status,
        "error_code": record.error_code,
        "gateway_id": record.gateway_id,
        "worker_id": record.worker_id,
        "attempt": record.attempt,
        "metered_attempt": record.metered_attempt,
        "meter_source": record.meter_source,
        "cached_tokens": record.cached_tokens,
        "queue_s": record.queue_s,
        "engine_first_token_s": record.engine_first_token_s,
        "engine_total_s": record.engine_total_s,
        "ended_at": record.ended_at,
        "settled_at": record.settled_at,
    }


def audit_columns(record: AuditRecord) -> dict[str, object]:
    """Return the columns of an audit record, for JSON. ``id``: that of the findings of ``audit verify``."""
    return {
        "at": record.at,
        "tenant": record.tenant.slug if record.tenant else None,
        "key_prefix": record.key_prefix,
        "client_ip": record.client_ip,
        "method": record.method,
        "endpoint": record.endpoint,
        "model": record.model,
        "requested_model": record.requested_model,
        "status": record.status,
        "outcome": record.outcome,
        "error_code": record.error_code,
        "error_param": record.error_param,
        "duration_s": record.duration_s,
        "correlation_id": record.correlation_id,
        "request_id": record.request_id,
        "id": record.pk,
    }


def sum_rows(
    groups: Sequence[UsageGroup], by: Sequence[Dimension], *, is_complete: bool
) -> list[dict[str, object]]:
    """Return a row for each line of sums; complete ones have ids, all measures and micro-dollars."""
    labels = [group.labels for group in groups]
    tenants, keys = _names(
        [label[Dimension.TENANT] for label in labels if Dimension.TENANT in label],
        [label[Dimension.KEY] for label in labels if Dimension.KEY in label],
    )
    rows = []
    for group in groups:
        row: dict[str, object] = {}
        for dimension in by:
            label = group.labels[dimension]
            if dimension is Dimension.TENANT:
                row |= _tenant_labels(label, tenants, is_complete=is_complete)
            elif dimension is Dimension.KEY:
                row |= _key_labels(label, keys, is_complete=is_complete)
            else:
                row[dimension.value] = label if is_complete else _text(label)
        rows.append(row | (_all_measures(group) if is_complete else _main_measures(group)))
    return rows


def deviation_rows(deviations: Sequence[Deviation], *, is_complete: bool) -> list[dict[str, object]]:
    """Return a row for each sum that differs from its records; complete ones have ids."""
    tenants, keys = _names(
        [deviation.tenant_id for deviation in deviations], [deviation.key_id for deviation in deviations]
    )
    return [
        {
            "bucket_at": deviation.bucket_at,
            **_tenant_labels(deviation.tenant_id, tenants, is_complete=is_complete),
            **_key_labels(deviation.key_id, keys, is_complete=is_complete),
            "model": deviation.model,
            "endpoint": deviation.endpoint,
        }
        for deviation in deviations
    ]


def _names(
    tenant_ids: Sequence[object], key_ids: Sequence[object]
) -> tuple[dict[object, Tenant], dict[object, ApiKey]]:
    tenants = Tenant.objects.in_bulk([name for name in tenant_ids if isinstance(name, uuid.UUID)])
    keys = ApiKey.objects.in_bulk([name for name in key_ids if isinstance(name, uuid.UUID)])
    return dict(tenants), dict(keys)


def _tenant_labels(label: object, tenants: dict[object, Tenant], *, is_complete: bool) -> dict[str, object]:
    tenant = tenants.get(label)
    slug = tenant.slug if tenant else None
    return {"tenant": slug, "tenant_id": label} if is_complete else {"tenant": slug or _text(label)}


def _key_labels(label: object, keys: dict[object, ApiKey], *, is_complete: bool) -> dict[str, object]:
    key = keys.get(label)
    prefix, name = (key.prefix, key.name) if key else (None, None)
    if is_complete:
        return {"key_prefix": prefix, "key_name": name, "key_id": label}
    return {"key": prefix or _text(label), "name": name}


def _text(label: object) -> str | None:
    return None if label is None else str(label)


def _all_measures(group: UsageGroup) -> dict[str, object]:
    return {name: getattr(group.sum, name) for name in MEASURES}


def _main_measures(group: UsageGroup) -> dict[str, object]:
    total = group.sum
    return {
        "requests": total.requests,
        "failed": total.failures,
        "prompt": total.prompt_tokens,
        "cached": total.cached_tokens,
        "completion": total.completion_tokens,
        "trained": total.trained_tokens,
        "cost": f"${dollars(total.cost_microusd)}",
    }
