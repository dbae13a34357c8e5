"""Pages of lists: rows in a stable order, with a cursor that names the last row of the previous page."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
import uuid
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from django.db.models import Model, Q, QuerySet
from pydantic import BaseModel

from api.admin_api.schemas.base import ListQuery
from api.openai.errors.parameters import InvalidValue

Row = TypeVar("Row", bound=Model)
Item = TypeVar("Item", bound=BaseModel)


def page(
    rows: QuerySet[Row, Any],
    query: ListQuery,
    order: Sequence[str],
    show: Callable[[Any], Item],
) -> dict[str, Any]:
    """Return the fields of a list: up to ``limit`` rows after the cursor, in the order of ``order``.

    ``order``: fields as for ``order_by``, the last one unique, all in the same direction. One query.
    """
    rows = rows.order_by(*order)
    if query.cursor is not None:
        rows = rows.filter(_after(order, _decode(query.cursor, rows.model, order)))
    matches = list(rows[: query.limit + 1])
    has_more, page_rows = len(matches) > query.limit, matches[: query.limit]
    return {
        "object": "list",
        "data": [show(row) for row in page_rows],
        "has_more": has_more,
        "next_cursor": _encode(page_rows[-1], order) if has_more else None,
    }


def _name(field: str) -> str:
    return field.removeprefix("-")


def _after(order: Sequence[str], values: Sequence[Any]) -> Q:
    condition = Q()
    for number, field in enumerate(order):
        equal = {_name(name): value for name, value in zip(order[:number], values, strict=False)}
        comparison = "lt" if field.startswith("-") else "gt"
        condition |= Q(**equal, **{f"{_name(field)}__{comparison}": values[number]})
    return condition


def _encode(row: Model, order: Sequence[str]) -> str:
    values = [_text(_value(row, _name(field))) for field in order]
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


def _value(row: Any, name: str) -> Any:
    for step in name.split("__"):
        row = getattr(row, step)
    return row


def _text(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return value.isoformat()
    return str(value) if isinstance(value, uuid.UUID) else value


def _decode(cursor: str, model: type[Model], order: Sequence[str]) -> list[Any]:
    try:
        values = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if not isinstance(values, list) or len(values) != len(order) or None in values:
            raise ValueError("another number of values")
        json.dumps(values, ensure_ascii=False).encode()  # fails for lone surrogates, which no column can hold
        return [
            _field(model, _name(name)).to_python(value) for name, value in zip(order, values, strict=True)
        ]
    except (ValueError, TypeError, binascii.Error, RecursionError, OverflowError):
        raise _invalid_cursor() from None
    except Exception as error:  # a field's own error, such as Django's ValidationError
        raise _invalid_cursor() from error


def _invalid_cursor() -> InvalidValue:
    return InvalidValue(param="cursor", reason="it is not a next_cursor of this list")


def _field(model: type[Model], name: str) -> Any:
    first, _, rest = name.partition("__")
    field: Any = model._meta.get_field(first)
    return _field(field.related_model, rest) if rest else field
