"""Changes of the settings of keys: checks, and values for the audit trail."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from typing import TYPE_CHECKING

from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from tenants.keys.networks import networks_normalise
from tenants.limits.changes import LimitChanges, audited_limits, columns_apply

if TYPE_CHECKING:
    from tenants.models import ApiKey


class KeySettings(LimitChanges, total=False):
    """Settings of a key. ``expires_at`` None means that it never expires."""

    expires_at: dt.datetime | None
    allowed_networks: Collection[str]


class KeyChanges(KeySettings, total=False):
    """The columns of a key that can be changed."""

    name: str
    scopes: Collection[str]


def _iso(moment: dt.datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def key_values(key: ApiKey) -> dict[str, object]:
    """Return the columns of a key as the audit trail stores them, without its secret."""
    return {
        "name": key.name,
        "prefix": key.prefix,
        "scopes": list(key.scopes),
        "expires_at": _iso(key.expires_at),
        "revoked_at": _iso(key.revoked_at),
        "allowed_networks": list(key.allowed_networks),
        "user": key.user.get_username() if key.user else None,
        "service_account": key.service_account.name if key.service_account else None,
        **audited_limits(key),
    }


def key_apply(key: ApiKey, changes: KeySettings) -> None:
    """Set the changed columns of an unsaved key, normalised. Raises ValidationError."""
    columns_apply(key, changes, tenant_id=key.tenant_id)
    key.scopes = sorted({str(scope) for scope in key.scopes})
    if not key.scopes:
        raise ValidationError({"scopes": _("A key needs at least one scope.")})
    key.allowed_networks = networks_normalise(key.allowed_networks)
