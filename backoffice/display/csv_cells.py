"""Cells of CSV files for spreadsheets."""

from __future__ import annotations

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def plain_cell(value: object) -> object:
    """Return a value that no spreadsheet runs as a formula, because texts of clients may look like one.

    Carriage returns become line feeds, because the csv module doesn't quote them in files whose lines end
    with a line feed: what follows would begin a row.
    """
    if not isinstance(value, str):
        return value
    text = value.replace("\r\n", "\n").replace("\r", "\n")
    return f"'{text}" if value.startswith(_FORMULA_STARTS) else text
