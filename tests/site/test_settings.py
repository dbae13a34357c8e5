"""Settings that depend on each other: production's rules and the database address."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks

from cyllm_site.database import database_settings

ROOT = Path(__file__).resolve().parents[2]
STRONG = "Zk3v-0q8Jx_yT5nW2rB7cL9dF1gH4mP6sA8uE0iO3kQ5wX7zVt9R"


@pytest.fixture
def production(settings: Any) -> Any:
    """Production settings as base.py makes them; a test spoils one."""
    settings.CYLLM = settings.CYLLM.model_copy(update={"mode": "production"})
    settings.SECRET_KEY = STRONG
    settings.ALLOWED_HOSTS = ["llm.example.org"]
    settings.SESSION_COOKIE_SECURE = settings.CSRF_COOKIE_SECURE = settings.SECURE_SSL_REDIRECT = True
    settings.SECURE_HSTS_SECONDS = 31_536_000
    return settings


def found() -> set[str]:
    return {str(message.id) for message in run_checks(tags=["cyllm"])}


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("SECRET_KEY", "short", "cyllm.E001"),
        ("SECRET_KEY", "a" * 80, "cyllm.E001"),
        ("DEBUG", True, "cyllm.E002"),
        ("ALLOWED_HOSTS", ["*"], "cyllm.E003"),
        ("ALLOWED_HOSTS", [], "cyllm.E003"),
        ("CSRF_COOKIE_SECURE", False, "cyllm.E004"),
        ("SECURE_HSTS_SECONDS", 0, "cyllm.E005"),
        ("SECURE_SSL_REDIRECT", False, "cyllm.E006"),
    ],
)
def test_production_refuses(production: Any, name: str, value: Any, code: str) -> None:
    assert found() == set()
    setattr(production, name, value)
    assert found() == {code}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ADMIN_AUDIT", "tenants.nowhere.record"),
        ("TENANT_NAMES", "tenants.selectors.dt"),
        ("ADMIN_AUDIT_PAGE", "admin:nothing"),
    ],
)
def test_a_seam_between_rooms_that_leads_nowhere_is_found_at_the_start(
    settings: Any, name: str, value: str
) -> None:
    assert found() == set()
    setattr(settings, name, value)
    assert found() == {"cyllm.E008"}


def test_production_warns_of_unencrypted_connections_to_other_hosts(production: Any) -> None:
    plain = {
        "database_url": "postgresql://u:p@db.example.org/x",
        "redis_url": "redis://redis.example.org/0",
    }
    encrypted = {
        "database_url": "postgresql://u:p@db.example.org/x?sslmode=verify-full",
        "redis_url": "rediss://redis.example.org/0",
    }
    production.CYLLM = production.CYLLM.model_copy(update=plain)
    assert found() == {"cyllm.W001", "cyllm.W002"}
    production.CYLLM = production.CYLLM.model_copy(update=encrypted)
    assert found() == set()


def test_a_database_address_is_read_as_libpq_reads_it() -> None:
    made = database_settings("postgresql://us%40er:p%2Fw@/name?host=/run/postgresql&sslmode=require", 2.5)
    assert (made["NAME"], made["USER"], made["PASSWORD"]) == ("name", "us@er", "p/w")
    assert (made["HOST"], made["PORT"]) == ("/run/postgresql", "")
    assert made["OPTIONS"]["sslmode"] == "require"
    assert made["OPTIONS"]["options"] == "-c statement_timeout=2500"
    assert made["OPTIONS"]["connect_timeout"] == 3
    assert made["CONN_HEALTH_CHECKS"]


@pytest.mark.parametrize("url", ["mysql://u:hunter2@h/x", "postgresql://u:hunter2@h/", "hunter2"])
def test_a_wrong_database_address_is_named_and_its_password_is_not(url: str) -> None:
    with pytest.raises(SystemExit, match="CYLLM_DATABASE_URL") as caught:
        database_settings(url, 3.0)
    assert "hunter2" not in str(caught.value)


def test_a_server_does_not_start_with_unsafe_settings() -> None:
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "cyllm_site.settings.base",
        "CYLLM_MODE": "production",
        "CYLLM_SECRET_KEY": "a" * 60,
    }
    done = subprocess.run(
        [sys.executable, "-c", "import cyllm_site.asgi"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "cyllm.E001" in done.stderr


def test_reading_the_code_needs_no_environment() -> None:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "VIRTUAL_ENV") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", "import django; django.setup(); import cyllm_site.urls"],
        cwd=ROOT,
        env={**kept, "DJANGO_SETTINGS_MODULE": "cyllm_site.settings.check"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
