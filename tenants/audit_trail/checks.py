"""Checks of the audit trails against their seals, and their results for pages."""

from __future__ import annotations

from django.utils import timezone

from tenants.audit_trail.models import Trail, TrailCheck
from tenants.audit_trail.verification import Verification, audit_verify


def trail_check(trail: Trail) -> Verification:
    """Compare a trail with its seals and store the result. Reads all its records."""
    result = audit_verify(trail)
    first = result.findings[0] if result.findings else None
    text = ": ".join(filter(None, [first.place, first.fault])) if first else ""
    values = {
        "checked_at": timezone.now(),
        "finding_count": len(result.findings),
        "first_finding": text,
    }
    TrailCheck.objects.update_or_create(trail=trail, defaults=values)
    return result


def broken_trails() -> list[TrailCheck]:
    """Return the last checks that found deviations. One query."""
    return list(TrailCheck.objects.filter(finding_count__gt=0).order_by("trail"))
