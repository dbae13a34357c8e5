"""Amounts of money: whole micro-dollars inside, dollars with exact digits for people."""

from __future__ import annotations

import re
from decimal import Decimal

from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

MICROUSD = 1_000_000
LARGEST_MICROUSD = 2**63 - 1
_AMOUNT = re.compile(r"\d{1,13}(\.\d{1,6})?", re.ASCII)


def microusd_parse(text: str) -> int:
    """Return the micro-dollars of an amount in dollars such as ``12.50``. Raises ValidationError."""
    plain = text.strip().removeprefix("$")
    if not _AMOUNT.fullmatch(plain):
        raise ValidationError(
            _("%(amount)s is not an amount in dollars. Write it as 12.50, with at most 6 decimals."),
            code="bad_amount",
            params={"amount": text},
        )
    amount = int(Decimal(plain) * MICROUSD)
    if amount > LARGEST_MICROUSD:
        raise ValidationError(_("%(amount)s is too large."), code="bad_amount", params={"amount": text})
    return amount


def dollars(microusd: int) -> str:
    """Return an amount in dollars with all its digits, at least two decimals: ``12.50``, ``0.000123``."""
    whole, fraction = divmod(abs(microusd), MICROUSD)
    decimals = f"{fraction:06d}".rstrip("0").ljust(2, "0")
    return f"{'-' if microusd < 0 else ''}{whole}.{decimals}"
