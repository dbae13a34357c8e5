"""Unique values that another transaction takes between the validation of a row and its save."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import IntegrityError, transaction
from django.db.models import Model


@contextmanager
def unique_values(row: Model) -> Iterator[None]:
    """Return a context in which to save a row. It raises ValidationError for a value that is taken by now."""
    try:
        with transaction.atomic():
            yield
    except IntegrityError:
        # The save has waited for the other transaction, whose row the validation now finds.
        row.validate_unique()
        row.validate_constraints()
        raise
