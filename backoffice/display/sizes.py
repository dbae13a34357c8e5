"""Numbers of bytes as people read them."""

from __future__ import annotations

BINARY_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def size_text(size_bytes: float) -> str:
    """Return a number of bytes with a binary unit and three or four digits, such as 38.2 GiB."""
    value, units = float(size_bytes), list(BINARY_UNITS)
    while abs(value) >= 1024 and len(units) > 1:
        value, units = value / 1024, units[1:]
    return f"{value:.0f} {units[0]}" if abs(value) >= 1000 else f"{value:.3g} {units[0]}"
