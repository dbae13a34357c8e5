"""Reads of stored responses, each restricted to one tenant's own."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import QuerySet, Sum
from django.db.models.functions import Length
from django.utils import timezone

from api.stored_responses.models import OPEN_STATUSES, StoredResponse


@dataclass(frozen=True, slots=True)
class StoredResponseRow:
    """The columns needed to return a response; ``body`` is JSON."""

    id: str
    status: str
    body: str
    background: bool

    @property
    def is_open(self) -> bool:
        """True while the gateway still generates the response."""
        return self.status in OPEN_STATUSES


@dataclass(frozen=True, slots=True)
class Turn:
    """One response of a conversation with its input items; both texts are JSON."""

    id: str
    status: str
    previous_response_id: str
    input_items: str
    body: str


def response_find(response_id: str, tenant_id: str) -> StoredResponseRow | None:
    """Return the tenant's unexpired response; None if it does not exist."""
    row = _unexpired(response_id, tenant_id).values_list("id", "status", "body", "background").first()
    return StoredResponseRow(*row) if row is not None else None


def response_input(response_id: str, tenant_id: str) -> list[dict[str, Any]] | None:
    """Return the response's input items in order; None if the response does not exist."""
    text = _unexpired(response_id, tenant_id).values_list("input_items", flat=True).first()
    return json.loads(text) if text is not None else None


def items_find(item_ids: Collection[str], tenant_id: str, max_bytes: int) -> dict[str, dict[str, Any]]:
    """Return the items with these ids in the tenant's unexpired responses, by id.

    Raises ValueError if the responses that hold them have more than ``max_bytes`` of JSON.
    """
    rows = StoredResponse.objects.filter(
        tenant_id=tenant_id, expires_at__gt=timezone.now(), item_ids__overlap=list(item_ids)
    )
    size = rows.aggregate(size=Sum(Length("body") + Length("input_items")))["size"] or 0
    if size > max_bytes:
        raise ValueError(f"the items are in {size} bytes of responses")
    items: dict[str, dict[str, Any]] = {}
    for input_items, body in rows.order_by("created_at").values_list("input_items", "body"):
        for item in (*json.loads(input_items), *json.loads(body)["output"]):
            if item["id"] in item_ids:
                items[item["id"]] = item
    return items


def _unexpired(response_id: str, tenant_id: str) -> QuerySet[StoredResponse]:
    return StoredResponse.objects.filter(id=response_id, tenant_id=tenant_id, expires_at__gt=timezone.now())


_CHAIN = """
WITH RECURSIVE chain AS (
    SELECT id, status, previous_response_id, input_items, body, 1 AS depth
    FROM stored_storedresponse WHERE id = %(id)s AND tenant_id = %(tenant)s AND expires_at > %(now)s
    UNION ALL
    SELECT r.id, r.status, r.previous_response_id, r.input_items, r.body, c.depth + 1
    FROM stored_storedresponse r JOIN chain c ON r.id = c.previous_response_id
    WHERE r.tenant_id = %(tenant)s AND r.expires_at > %(now)s AND c.depth < %(depth)s
)
SELECT id, status, previous_response_id, input_items, body FROM chain ORDER BY depth DESC
"""


def response_chain(response_id: str, tenant_id: str, depth: int) -> list[Turn]:
    """Return a response and its predecessors, oldest first, at most ``depth``; empty if it does not exist."""
    with connection.cursor() as cursor:
        cursor.execute(
            _CHAIN, {"id": response_id, "tenant": tenant_id, "now": timezone.now(), "depth": depth}
        )
        return [Turn(*row) for row in cursor.fetchall()]


def active_gateways() -> set[str]:
    """Return the ids of all gateways with open responses."""
    open_responses = StoredResponse.objects.across_tenants().filter(status__in=OPEN_STATUSES)
    return set(open_responses.values_list("gateway_id", flat=True).distinct())
