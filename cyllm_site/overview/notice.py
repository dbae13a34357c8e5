"""Notices of the admin's index."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Notice:
    """A fault as a sentence, and the address of the page that shows more."""

    text: str
    address: str
    is_urgent: bool = True
