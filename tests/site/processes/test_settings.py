"""System checks of the settings, and the database address."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks

from cyllm_site.settings.database import database_settings

ROOT = Path(__file__).resolve().parents[3]
STRONG = "Zk3v-0q8Jx_yT5nW2rB7cL9dF1gH4mP6sA8uE0iO3kQ5wX7zVt9R"


@pytest.fixture
def production(settings: Any) -> Any:
    """Valid production settings."""
    settings.CYLLM = settings.CYLLM.model_copy(update={"mode": "production"})
    settings.SECRET_KEY = STRONG
    settings.ALLOWED_HOSTS = ["llm.example.org"]
    settings.SESSION_COOKIE_SECURE = settings.CSRF_COOKIE_SECURE = settings.SECURE_SSL_REDIRECT = True
    settings.SECURE_HSTS_SECONDS = 31_536_000
    settings.REQUIRE_HTTPS = settings.REQUIRE_TWO_FACTOR = True
    return settings


def failed_checks() -> set[str]:
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
        ("REQUIRE_HTTPS", False, "cyllm.E006"),
        ("REQUIRE_TWO_FACTOR", False, "cyllm.W004"),
        ("ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"], "cyllm.W005"),
    ],
)
def test_production_rejects(production: Any, name: str, value: Any, code: str) -> None:
    assert failed_checks() == set()
    setattr(production, name, value)
    assert failed_checks() == {code}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ADMIN_AUDIT", "tenants.nowhere.record"),
        ("TENANT_NAMES", "tenants.selectors.dt"),
        ("ADMIN_AUDIT_PAGE", "admin:nothing"),
    ],
)
def test_a_setting_that_names_a_missing_function_or_page_is_reported(
    settings: Any, name: str, value: str
) -> None:
    assert failed_checks() == set()
    setattr(settings, name, value)
    assert failed_checks() == {"cyllm.E008"}


@pytest.mark.criterion("6.5")
def test_production_warns_of_unencrypted_connections_to_remote_hosts(production: Any) -> None:
    plain = {
        "database_url": "postgresql://u:p@db.example.org/x",
        "redis_url": "redis://redis.example.org/0",
        "broker_url": "amqp://broker.example.org",
        "trusted_proxies": 4,
    }
    without_verification = {**plain, "database_url": "postgresql://u:p@db.example.org/x?sslmode=require"}
    with_tls = {
        "database_url": "postgresql://u:p@db.example.org/x?sslmode=verify-full",
        "redis_url": "rediss://redis.example.org/0",
        "broker_url": "amqps://broker.example.org",
        "trusted_proxies": 1,
    }
    for values in (plain, without_verification):
        production.CYLLM = production.CYLLM.model_copy(update=values)
        assert failed_checks() == {"cyllm.W001", "cyllm.W002", "cyllm.W003", "cyllm.W006"}
    production.CYLLM = production.CYLLM.model_copy(update=with_tls)
    assert failed_checks() == set()


def test_a_database_address_is_parsed_as_in_libpq() -> None:
    entry = database_settings("postgresql://us%40er:p%2Fw@/name?host=/run/postgresql&sslmode=require", 2.5)
    assert (entry["NAME"], entry["USER"], entry["PASSWORD"]) == ("name", "us@er", "p/w")
    assert (entry["HOST"], entry["PORT"]) == ("/run/postgresql", "")
    assert entry["OPTIONS"]["sslmode"] == "require"
    assert entry["OPTIONS"]["options"] == "-c statement_timeout=2500"
    assert entry["OPTIONS"]["connect_timeout"] == 3
    assert entry["CONN_HEALTH_CHECKS"]


@pytest.mark.parametrize("url", ["mysql://u:hunter2@h/x", "postgresql://u:hunter2@h/", "hunter2"])
def test_an_invalid_database_address_is_reported_without_its_password(url: str) -> None:
    with pytest.raises(SystemExit, match="CYLLM_DATABASE_URL") as failure:
        database_settings(url, 3.0)
    assert "hunter2" not in str(failure.value)


def test_a_server_does_not_start_with_unsafe_settings() -> None:
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "cyllm_site.settings.base",
        "CYLLM_MODE": "production",
        "CYLLM_SECRET_KEY": "a" * 60,
    }
    process = subprocess.run(
        [sys.executable, "-c", "import cyllm_site.asgi"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode != 0
    assert "cyllm.E001" in process.stderr


def test_settings_for_tools_need_no_environment() -> None:
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "VIRTUAL_ENV") if name in os.environ}
    process = subprocess.run(
        [sys.executable, "-c", "import django; django.setup(); import cyllm_site.urls"],
        cwd=ROOT,
        env={**environment, "DJANGO_SETTINGS_MODULE": "cyllm_site.settings.check"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
