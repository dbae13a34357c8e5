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
LOST_ERROR = {
    "code": "server_error",
    "message": "The gateway process that ran this request was lost, and the rest of the answer with it.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NewResponse:
    """What is stored of a response when it is stored first."""

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
    """Store a response, once: again is nothing, as a write may have taken place that seemed to fail.

    Its status is that of its body.
    """
    stored = StoredResponse(
        id=new.id,
        tenant_id=new.tenant_id,
        model=new.model,
        status=new.body["status"],
        body=_text(new.body),
        input_items=_text(new.input_items),
        previous_response_id=new.previous_response_id or "",
        background=new.background,
        gateway_id=new.gateway_id,
        created_at=new.created_at,
        expires_at=new.expires_at,
    )
    StoredResponse.objects.bulk_create([stored], ignore_conflicts=True)


def response_update(response_id: str, body: Mapping[str, Any]) -> bool:
    """Store how far a response is; false if it has ended already, or was deleted."""
    waiting = StoredResponse.objects.filter(id=response_id, status__in=OPEN_STATUSES)
    return bool(waiting.update(status=body["status"], body=_text(body)))


def response_delete(response_id: str, tenant_id: str) -> bool:
    """Delete a tenant's response; false if there is none of this id."""
    deleted, _ = StoredResponse.objects.filter(id=response_id, tenant_id=tenant_id).delete()
    return bool(deleted)


def responses_purge(*, now: dt.datetime, batch: int = BATCH) -> int:
    """Delete responses past their time, in small pieces; their number."""
    deleted = 0
    expired = StoredResponse.objects.filter(expires_at__lte=now).order_by("expires_at")
    while ids := list(expired.values_list("id", flat=True)[:batch]):
        deleted += StoredResponse.objects.filter(id__in=ids).delete()[0]
    return deleted


def responses_fail_lost(*, gone: Collection[str], begun_before: dt.datetime) -> int:
    """Mark the open responses of gateways that are gone, and those older than any can run, as failed.

    Returns their number.
    """
    open_ones = StoredResponse.objects.filter(status__in=OPEN_STATUSES)
    lost = open_ones.filter(Q(gateway_id__in=gone) | Q(created_at__lt=begun_before))
    failed = 0
    for response_id, body in lost.values_list("id", "body")[:BATCH]:
        failed += response_update(response_id, {**json.loads(body), "status": "failed", "error": LOST_ERROR})
    return failed


def _text(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
