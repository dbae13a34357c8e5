"""Probes of a Postgres and a Redis that the user provides instead of the embedded servers."""

from __future__ import annotations

import psycopg
import redis

CONNECT_TIMEOUT_S = 5


class ExternalServerError(Exception):
    """A server can't be used; the text names the setting and no password."""

    def __init__(self, setting: str, reason: Exception) -> None:
        first_line = str(reason).split("\n", maxsplit=1)[0].rstrip(".")
        super().__init__(
            f"The server in {setting} can't be used: {first_line}.\n"
            f"Start that server, correct {setting}, or unset it to use the embedded server."
        )


def probe_redis(url: str) -> None:
    """Ping Redis once. Raises ExternalServerError."""
    client = redis.Redis.from_url(
        url, socket_connect_timeout=CONNECT_TIMEOUT_S, socket_timeout=CONNECT_TIMEOUT_S
    )
    try:
        client.ping()
    except (redis.RedisError, OSError) as error:
        raise ExternalServerError("CYLLM_REDIS_URL", error) from None
    finally:
        client.close()


def probe_database(url: str) -> None:
    """Log in to the database once. Raises ExternalServerError."""
    try:
        psycopg.connect(url, connect_timeout=CONNECT_TIMEOUT_S).close()
    except psycopg.Error as error:
        raise ExternalServerError("CYLLM_DATABASE_URL", error) from None
