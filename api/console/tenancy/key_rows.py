"""API keys as the console lists them: state, holder, limits and use."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from django.db.models import Q, QuerySet
from django.utils import timezone

from api.console.access import TenantRequest
from tenants.choices import KeyPurpose, Role, Scope
from tenants.keys.selectors import KeyState, key_state, key_state_condition, keys
from tenants.limits.texts import limit_texts
from tenants.members.roles import can_manage_key, can_manage_keys_of
from tenants.models import ApiKey, Tenant
from tenants.usage.sums import NOTHING, Dimension, UsagePeriod, UsageSum, usage_groups

TONES = {KeyState.VALID: "good", KeyState.EXPIRED: "warn", KeyState.REVOKED: "bad", KeyState.DISABLED: "warn"}
_PREFIX = re.compile(r"sk-cy-([0-9A-Za-z]{12})")


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key with its effective state and its use in the current month in UTC.

    ``successor_prefix``: of the key that replaced it. ``is_ending``: it is in the grace period of a rotation.
    """

    key: ApiKey
    state: KeyState
    use: UsageSum
    can_change: bool
    successor_prefix: str

    @property
    def tone(self) -> str:
        """The colour of the state: a class of badges."""
        return TONES[self.state]

    @property
    def is_ending(self) -> bool:
        """True if a rotated key is still valid for a while."""
        return bool(self.successor_prefix) and self.state is KeyState.VALID

    @property
    def is_of_playground(self) -> bool:
        """True if the playground renews the key."""
        return self.key.purpose == KeyPurpose.PLAYGROUND

    @property
    def can_rotate(self) -> bool:
        """True if the person may rotate it now."""
        is_usable = self.state is KeyState.VALID and not self.successor_prefix
        return self.can_change and is_usable and not self.is_of_playground

    @property
    def scopes(self) -> list[Scope]:
        """The scopes in the order of the form."""
        return [scope for scope in Scope if scope in self.key.scopes]

    @property
    def limits(self) -> list[str]:
        """The limits that are set, as texts."""
        return limit_texts(self.key.limits())


def tenant_keys(request: TenantRequest, text: str, state: KeyState | None) -> QuerySet[ApiKey]:
    """Return the keys that a person may see, the newest first.

    ``text``: part of a name or holder, or a key in any form.
    """
    rows = keys(tenant=request.tenant).select_related("created_by").order_by("-created_at", "id")
    if not can_manage_keys_of(request.role, is_own=False):
        rows = rows.filter(user=request.user) if request.role != Role.VIEWER else rows.none()
    if state is not None:
        rows = rows.filter(key_state_condition(state, timezone.now()))
    else:
        # The playground renews its keys itself, so expired ones need no attention.
        finished_playground = Q(purpose=KeyPurpose.PLAYGROUND) & Q(expires_at__lte=timezone.now())
        rows = rows.exclude(finished_playground)
    if match := _PREFIX.search(text):
        return rows.filter(prefix=match.group(1))
    if text:
        holders = Q(user__username__icontains=text) | Q(service_account__name__icontains=text)
        rows = rows.filter(Q(name__icontains=text) | Q(prefix__iexact=text) | holders)
    return rows


def key_rows(request: TenantRequest, rows: list[ApiKey]) -> list[KeyRow]:
    """Return the rows with their use. One query."""
    now, use = timezone.now(), month_use(request.tenant)
    return [
        KeyRow(
            key=key,
            state=key_state(key, now),
            use=use.get(key.id, NOTHING),
            can_change=can_manage_key(request.role, request.user.pk, key),
            successor_prefix=_successor_prefix(key),
        )
        for key in rows
    ]


def _successor_prefix(key: ApiKey) -> str:
    return key.replaced_by.prefix if hasattr(key, "replaced_by") else ""


def month_use(tenant: Tenant) -> Mapping[uuid.UUID, UsageSum]:
    """Return requests and cost of each key since the month in UTC began. One query."""
    since = dt.datetime.now(dt.UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    period = UsagePeriod(since=since, tenant_ids=[tenant.id])
    groups = usage_groups(period, [Dimension.KEY], measures=("requests", "cost_microusd"))
    uses = {group.labels[Dimension.KEY]: group.sum for group in groups}
    return {key_id: use for key_id, use in uses.items() if isinstance(key_id, uuid.UUID)}
