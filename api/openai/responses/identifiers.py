"""Ids of responses, items and calls, in the form that OpenAI gives them."""

from __future__ import annotations

import secrets
from typing import Literal

Prefix = Literal["resp", "msg", "fc", "fco", "rs", "call"]


def new_id(prefix: Prefix) -> str:
    """An id that can't be guessed: 192 random bits."""
    return f"{prefix}_{secrets.token_hex(24)}"
