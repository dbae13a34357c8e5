"""Changes of the limits of tenants and keys: checks, and values for the audit trail."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, TypedDict, cast

from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.module_loading import import_string
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from tenants.limits.columns import LimitColumns

MAX_ALLOWED_MODELS = 200
MAX_NAMES_IN_ERROR = 20
LIMIT_COLUMNS = (
    "requests_per_minute",
    "tokens_per_minute",
    "concurrent_requests",
    "spend_per_day_microusd",
    "spend_per_month_microusd",
)
LIMIT_FIELDS = (*LIMIT_COLUMNS, "allowed_models")


class LimitChanges(TypedDict, total=False):
    """The limits that a tenant and a key have; None removes a limit. Spend in micro-dollars, in UTC."""

    requests_per_minute: int | None
    tokens_per_minute: int | None
    concurrent_requests: int | None
    spend_per_day_microusd: int | None
    spend_per_month_microusd: int | None
    allowed_models: Collection[str]


def audited_limits(row: LimitColumns) -> dict[str, object]:
    """Return the limits as the audit trail stores them."""
    values: dict[str, object] = {name: getattr(row, name) for name in LIMIT_COLUMNS}
    return values | {"allowed_models": list(row.allowed_models)}


def columns_apply(
    row: LimitColumns, changes: Mapping[str, object], *, tenant_id: uuid.UUID | None = None
) -> None:
    """Set the changed columns of an unsaved tenant or key, its models normalised. Raises ValidationError.

    Models that are added must exist, and for a key be visible to its tenant. Those that the row already has
    may have been removed since. ``tenant_id``: of a key, None for a tenant.
    """
    previous = set(row.allowed_models)
    for name, value in changes.items():
        setattr(row, name, value)
    row.allowed_models = sorted({name.strip() for name in row.allowed_models if name.strip()})
    if len(row.allowed_models) > MAX_ALLOWED_MODELS:
        raise ValidationError({"allowed_models": _("At most %(max)s models.") % {"max": MAX_ALLOWED_MODELS}})
    if new_names := set(row.allowed_models) - previous:
        _check_models(new_names, tenant_id)


def _check_models(names: Collection[str], tenant_id: uuid.UUID | None) -> None:
    """Check that models exist. A model that the tenant may not see is like one that doesn't exist."""
    usable_names = cast("Callable[[uuid.UUID | None], list[str]]", import_string(settings.USABLE_MODEL_NAMES))
    usable = usable_names(tenant_id)
    if unknown := sorted(set(names) - set(usable)):
        text = gettext("No such model: %(names)s. Choose from: %(models)s.")
        values = {"names": _joined(unknown), "models": _joined(usable)}
        raise ValidationError({"allowed_models": text % values})


def _joined(names: Collection[str]) -> str:
    text = ", ".join(sorted(names)[:MAX_NAMES_IN_ERROR])
    return f"{text}, …" if len(names) > MAX_NAMES_IN_ERROR else text or "—"
