"""Versions of audited objects: every change has a row in the trail, so the newest row names the version."""

from __future__ import annotations

from tenants.models import AdminAudit


def object_version(kind: str, object_id: str) -> str:
    """Return the version of an object whose actions begin with ``kind``, empty if it was never changed."""
    changes = AdminAudit.objects.filter(object_id=object_id, action__startswith=f"{kind}.")
    number = changes.order_by("-at", "-id").values_list("id", flat=True).first()
    return "" if number is None else str(number)
