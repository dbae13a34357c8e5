"""Administrative changes for pages: labels of columns, choices in words, amounts in dollars."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist
from django.db.models import Field
from django.utils.translation import gettext

from backoffice.display.money import dollars
from tenants.audit_trail.vocabulary import audited_changes
from tenants.models import AdminAudit

LONGEST_VALUE = 200
PRICE_UNIT = "_microusd_per_million_tokens"


@dataclass(frozen=True, slots=True)
class Difference:
    """One field of a change. Values as text; empty means that there was none."""

    name: str
    before: str
    after: str


def change_differences(change: AdminAudit) -> tuple[Difference, ...]:
    """Return the fields that a change sets or removes, in the current language."""
    kind, before, after = change.action.partition(".")[0], change.before or {}, change.after or {}
    names = [*after, *(name for name in before if name not in after)]
    labels = audited_changes().labels
    rows = []
    for name in names:
        column = _column(kind, name)
        label = str(labels.get(name, column.verbose_name if column else name))
        rows.append(
            Difference(label, _text(name, before.get(name), column), _text(name, after.get(name), column))
        )
    return tuple(row for row in rows if row.before != row.after)


def _column(kind: str, name: str) -> Field[Any, Any] | None:
    """Return the column that is recorded under a name, None for a value that has no column."""
    for label in audited_changes().models.get(kind, ()):
        try:
            column = apps.get_model(label)._meta.get_field(name.removesuffix(PRICE_UNIT))
        except FieldDoesNotExist:
            continue
        return column if isinstance(column, Field) else None
    return None


def _text(name: str, value: object, column: Field[Any, Any] | None) -> str:
    match value:
        case None | [] | "":
            return ""
        case bool():
            return gettext("yes") if value else gettext("no")
        case int() if name.endswith(("_microusd", PRICE_UNIT)):
            return f"${dollars(value)}"
        case [*items]:
            text = gettext(", ").join(_choice(item, column) for item in items)
        case str() if name.endswith("_at"):
            text = value[:19].replace("T", " ") + " UTC"
        case str():
            text = _choice(value, column)
        case _:
            text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"


def _choice(value: object, column: Field[Any, Any] | None) -> str:
    """Return the label of a choice in the current language, other values as text."""
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    choices = getattr(column, "base_field", column)
    labels = dict(choices.flatchoices) if isinstance(choices, Field) else {}
    return str(labels.get(value, value))
