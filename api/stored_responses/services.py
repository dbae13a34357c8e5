"""Writes of stored responses."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Q

from api.stored_responses.models import OPEN_STATUSES, StoredResponse

BATCH = 500
GATEWAY_DIED = {
    "code": "server_error",
    "message": "The gateway process that ran this request died before the response was complete.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NewResponse:
    """A response to be stored; ``body`` holds its status."""

    id: str
    tenant_id: str
    model: str
    body: Mapping[str, Any]
    input_items: Sequence[Mapping[str, Any]]
    previous_response_id: str | None
    background: bool
    gateway_id: str
    created_at: dt.datetime
    expires_at: dt.datetime


def response_create(new: NewResponse) -> None:
    """Insert a response. Idempotent: a write that seemed to fail may have committed."""
    response = StoredResponse(
        id=new.id,
        tenant_id=new.tenant_id,
        model=new.model,
        status=new.body["status"],
        body=_json(new.body),
        input_items=_json(new.input_items),
        previous_response_id=new.previous_response_id or "",
        background=new.background,
        gateway_id=new.gateway_id,
        created_at=new.created_at,
        expires_at=new.expires_at,
    )
    StoredResponse.objects.bulk_create([response], ignore_conflicts=True)


def response_update(response_id: str, body: Mapping[str, Any]) -> bool:
    """Replace the body and status of an open response; False if it has ended or was deleted."""
    open_response = StoredResponse.objects.filter(id=response_id, status__in=OPEN_STATUSES)
    return bool(open_response.update(status=body["status"], body=_json(body)))


def response_delete(response_id: str, tenant_id: str) -> bool:
    """Delete a tenant's response; False if it does not exist."""
    count, _ = StoredResponse.objects.filter(id=response_id, tenant_id=tenant_id).delete()
    return bool(count)


def responses_purge(*, now: dt.datetime, batch: int = BATCH) -> int:
    """Delete expired responses in small batches. Returns their number."""
    count = 0
    expired = StoredResponse.objects.filter(expires_at__lte=now).order_by("expires_at")
    while ids := list(expired.values_list("id", flat=True)[:batch]):
        count += StoredResponse.objects.filter(id__in=ids).delete()[0]
    return count


def responses_fail_lost(*, dead_gateways: Collection[str], created_before: dt.datetime) -> int:
    """Fail the open responses of dead gateways, and those older than any request can run.

    Returns their number.
    """
    open_responses = StoredResponse.objects.filter(status__in=OPEN_STATUSES)
    lost_responses = open_responses.filter(Q(gateway_id__in=dead_gateways) | Q(created_at__lt=created_before))
    count = 0
    for response_id, body in lost_responses.values_list("id", "body")[:BATCH]:
        count += response_update(response_id, {**json.loads(body), "status": "failed", "error": GATEWAY_DIED})
    return count


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
