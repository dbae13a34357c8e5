"""Explanations of recorded errors, from their codes and the values that records hold."""

from __future__ import annotations

import re

from api.openai.errors.catalogue import CATALOGUE
from api.openai.errors.quotas import InsufficientQuota, RateLimitExceeded, limit_details

UNKNOWN = "…"
NOT_RECORDED = "(Values shown as “…” are not recorded.)"
LIMIT_CODES = (RateLimitExceeded.code, InsufficientQuota.code)
_VALUE = re.compile(r"\{(\w+)[^}]*\}")


def explain(code: str, param: str, model: str) -> tuple[str, str] | None:
    """Return the message of an error and its remedy, None for an unknown code.

    Values that no record holds appear as ``…``, explained by a note; one at the end is left out.
    """
    error = CATALOGUE.get(code)
    if error is None:
        return None
    values = {"param": param, "model": model, **(limit_details(param) if code in LIMIT_CODES else {})}
    message = _VALUE.sub(lambda match: values.get(match[1]) or UNKNOWN, error.message_format)
    message = message.removesuffix(UNKNOWN).rstrip()
    return f"{message} {NOT_RECORDED}" if UNKNOWN in message else message, error.fix
