"""Django's database settings from a ``postgresql://`` address."""

from __future__ import annotations

import math
import sys
from typing import Any

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

KEEP_CONNECTION_S = 60
# Migrations may rewrite whole tables.
UNLIMITED_COMMANDS = frozenset({"migrate", "dbshell"})


def database_parts(url: str) -> dict[str, Any]:
    """Parse the address as libpq does, with all its parameters, such as ``?host=/run/postgresql``.

    Raises ValueError with a text that doesn't quote the address.
    """
    try:
        parts: dict[str, Any] = dict(conninfo_to_dict(url))
    except ProgrammingError:
        # libpq's message quotes the address with its password.
        raise ValueError("not a postgresql:// address") from None
    if not parts.get("dbname"):
        raise ValueError("has no database name")
    return parts


def database_settings(url: str, timeout_s: float) -> dict[str, Any]:
    """Return an entry for ``DATABASES``. Raises SystemExit for an invalid address."""
    try:
        parts = database_parts(url)
    except ValueError as error:
        raise SystemExit(f"CYLLM_DATABASE_URL: {error}") from None
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.pop("dbname"),
        "USER": parts.pop("user", ""),
        "PASSWORD": parts.pop("password", ""),
        "HOST": parts.pop("host", ""),
        "PORT": str(parts.pop("port", "") or ""),
        "CONN_MAX_AGE": KEEP_CONNECTION_S,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {**_limits(parts, timeout_s), **parts},
    }


def _limits(parts: dict[str, Any], timeout_s: float) -> dict[str, Any]:
    milliseconds = math.ceil(timeout_s * 1000)
    limits: dict[str, Any] = {"connect_timeout": max(2, math.ceil(timeout_s))}
    if sys.argv[1:2] and sys.argv[1] in UNLIMITED_COMMANDS:
        return limits
    options = f"-c statement_timeout={milliseconds}"
    if extra_options := parts.pop("options", None):
        options = f"{options} {extra_options}"
    return {**limits, "options": options, "tcp_user_timeout": milliseconds}
