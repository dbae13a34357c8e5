"""Queries of API keys, and their effective state."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from django.db import models
from django.db.models import Q, QuerySet
from django.utils.translation import gettext_lazy as _

from tenants.choices import Tier
from tenants.keys.secrets import key_prefix
from tenants.limits.columns import NO_LIMITS, UsageLimits
from tenants.models import PREFIX_PATTERN, ApiKey, Tenant

KEY_ACTOR = "key:"


class KeyState(models.TextChoices):
    """Effective states of a key: whether the API accepts it, and if not, why."""

    VALID = "valid", _("valid")
    DISABLED = "disabled", _("tenant inactive")
    EXPIRED = "expired", _("expired")
    REVOKED = "revoked", _("revoked")


@dataclass(frozen=True, slots=True)
class KeyPrincipal:
    """Identity, rights and limits of an API key, as gateways check and cache them.

    ``allowed_networks``: addresses from which it may be used; empty allows all. ``user_id``: the person to
    whom it belongs, if it isn't the tenant's or a service account's.
    """

    key_id: uuid.UUID
    key_prefix: str
    secret_hash: str = field(repr=False)
    tenant_id: uuid.UUID
    tenant_slug: str
    scopes: frozenset[str]
    expires_at: dt.datetime | None
    revoked_at: dt.datetime | None
    tenant_active: bool
    allowed_networks: tuple[str, ...] = ()
    tier: str = Tier.STANDARD
    key_limits: UsageLimits = NO_LIMITS
    tenant_limits: UsageLimits = NO_LIMITS
    stored_bytes: int | None = None
    user_id: int | None = None
    created_by_id: int | None = None

    @property
    def actor(self) -> str:
        """The key as the actor of changes in the audit trail."""
        return KEY_ACTOR + self.key_prefix


def key_principal(prefix: str) -> KeyPrincipal | None:
    """Return the principal of the key with this public prefix, None if it does not exist. One query.

    Includes revoked and expired keys, so that the caller can distinguish them from unknown ones.
    """
    return key_principals([prefix]).get(prefix)


def key_principals(prefixes: Sequence[str]) -> dict[str, KeyPrincipal]:
    """Return the principals of the existing keys by prefix, in one query."""
    rows = ApiKey.objects.select_related("tenant").filter(prefix__in=prefixes)
    return {key.prefix: _principal(key) for key in rows}


def _principal(key: ApiKey) -> KeyPrincipal:
    return KeyPrincipal(
        key_id=key.id,
        key_prefix=key.prefix,
        secret_hash=key.secret_hash,
        tenant_id=key.tenant_id,
        tenant_slug=key.tenant.slug,
        scopes=frozenset(key.scopes),
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
        tenant_active=key.tenant.active,
        allowed_networks=tuple(key.allowed_networks),
        tier=key.tenant.tier,
        key_limits=key.limits(),
        tenant_limits=key.tenant.limits(),
        stored_bytes=key.tenant.stored_bytes,
        user_id=key.user_id,
        created_by_id=key.created_by_id,
    )


def actor_key(actor: str, tenant_id: uuid.UUID) -> ApiKey | None:
    """Return the tenant's key behind an actor, None for a person or a key that doesn't exist."""
    if not actor.startswith(KEY_ACTOR):
        return None
    return ApiKey.objects.filter(tenant=tenant_id, prefix=actor.removeprefix(KEY_ACTOR)).first()


def key_state(key: ApiKey | KeyPrincipal, now: dt.datetime) -> KeyState:
    """Return the key's effective state at ``now``, the one that the API answers with."""
    is_tenant_active = key.tenant_active if isinstance(key, KeyPrincipal) else key.tenant.active
    if key.revoked_at is not None and key.revoked_at <= now:
        return KeyState.REVOKED
    if key.expires_at is not None and key.expires_at <= now:
        return KeyState.EXPIRED
    return KeyState.VALID if is_tenant_active else KeyState.DISABLED


def key_state_condition(state: KeyState, now: dt.datetime) -> Q:
    """Return the query condition for keys in ``state`` at ``now``."""
    is_revoked, is_expired, is_active = Q(revoked_at__lte=now), Q(expires_at__lte=now), Q(tenant__active=True)
    match state:
        case KeyState.REVOKED:
            return is_revoked
        case KeyState.EXPIRED:
            return ~is_revoked & is_expired
        case KeyState.DISABLED:
            return ~is_revoked & ~is_expired & ~is_active
        case KeyState.VALID:
            return ~is_revoked & ~is_expired & is_active


def keys(*, tenant: Tenant | None = None) -> QuerySet[ApiKey]:
    """Return one tenant's or all keys, with their tenants."""
    rows = ApiKey.objects.select_related("tenant", "replaced_by", "user", "service_account")
    return rows if tenant is None else rows.filter(tenant=tenant)


def key_of_text(text: str, *, tenant_ids: Collection[uuid.UUID] | None = None) -> ApiKey | None:
    """Return the key that a text shows: the whole key, ``sk-cy-…``, or its prefix."""
    prefix = key_prefix(text.strip())
    if not re.match(PREFIX_PATTERN, prefix):
        return None
    rows = ApiKey.objects.select_related("tenant").filter(prefix=prefix)
    if tenant_ids is not None:
        rows = rows.filter(tenant_id__in=tenant_ids)
    return rows.first()


def key_prefixes() -> list[str]:
    """Return the public prefixes of all keys."""
    return list(ApiKey.objects.values_list("prefix", flat=True))
