"""The embedded servers: started, stopped, killed and found again."""

from __future__ import annotations

import psycopg
import redis


def test_embedded_postgres_serves_a_fresh_database_to_its_own_role(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        row = connection.execute("SELECT current_user, current_database(), pg_catalog.version()").fetchone()
    assert row is not None
    assert row[:2] == ("cyllm", "cyllm")


def test_embedded_valkey_wants_its_password(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.config_get("appendonly") == {"appendonly": "yes"}
    bare = redis_url.replace(redis_url.split("@")[0], "redis://").replace("//@", "//")
    with redis.Redis.from_url(bare) as client:
        try:
            client.ping()
        except redis.AuthenticationError:
            return
    raise AssertionError("a client without the password was let in")
