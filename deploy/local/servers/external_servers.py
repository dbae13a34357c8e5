"""Servers that the user names instead of the embedded ones: asked once, before anything is started."""

from __future__ import annotations

import psycopg
import redis

CONNECT_TIMEOUT_S = 5


class ExternalServerError(Exception):
    """A server that was named can't be used; the text names the setting, and no password."""

    def __init__(self, setting: str, reason: Exception) -> None:
        first_line = str(reason).split("\n", maxsplit=1)[0].rstrip(".")
        super().__init__(
            f"{setting} names a server that can't be used: {first_line}.\n"
            f"Start that server, correct {setting}, or leave it out: then one is embedded."
        )


def redis_probe(url: str) -> None:
    """Ask for one answer. Raises ExternalServerError."""
    client = redis.Redis.from_url(
        url, socket_connect_timeout=CONNECT_TIMEOUT_S, socket_timeout=CONNECT_TIMEOUT_S
    )
    try:
        client.ping()
    except (redis.RedisError, OSError) as error:
        raise ExternalServerError("CYLLM_REDIS_URL", error) from None
    finally:
        client.close()


def database_probe(url: str) -> None:
    """Log in once. Raises ExternalServerError."""
    try:
        psycopg.connect(url, connect_timeout=CONNECT_TIMEOUT_S).close()
    except psycopg.Error as error:
        raise ExternalServerError("CYLLM_DATABASE_URL", error) from None
