"""Reads of stored responses: what a tenant asks for is found among its own alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.utils import timezone

from api.stored_responses.models import OPEN_STATUSES, StoredResponse


@dataclass(frozen=True, slots=True)
class ResponseRecord:
    """A stored response; ``body`` is its JSON."""

    id: str
    status: str
    body: str
    background: bool

    @property
    def is_open(self) -> bool:
        """Whether it is still being made."""
        return self.status in OPEN_STATUSES


@dataclass(frozen=True, slots=True)
class Turn:
    """One response of a chain, and what its conversation got from it."""

    id: str
    status: str
    previous_response_id: str
    input_items: str
    body: str


def response_find(response_id: str, tenant_id: str) -> ResponseRecord | None:
    """The tenant's response of this id that is still kept; None where there is none."""
    found = StoredResponse.objects.filter(id=response_id, tenant_id=tenant_id, expires_at__gt=timezone.now())
    row = found.values_list("id", "status", "body", "background").first()
    return ResponseRecord(*row) if row is not None else None


def response_input(response_id: str, tenant_id: str) -> list[dict[str, Any]] | None:
    """The input items of a response in their order; None where there is no such response."""
    found = StoredResponse.objects.filter(id=response_id, tenant_id=tenant_id, expires_at__gt=timezone.now())
    text = found.values_list("input_items", flat=True).first()
    return json.loads(text) if text is not None else None


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
    """A response and those before it, oldest first, ``depth`` of them at most; empty where there is none."""
    with connection.cursor() as cursor:
        cursor.execute(
            _CHAIN, {"id": response_id, "tenant": tenant_id, "now": timezone.now(), "depth": depth}
        )
        return [Turn(*row) for row in cursor.fetchall()]


def gateways_waited_for() -> set[str]:
    """The gateways that make responses now, as far as is stored."""
    waiting = StoredResponse.objects.filter(status__in=OPEN_STATUSES)
    return set(waiting.values_list("gateway_id", flat=True).distinct())
