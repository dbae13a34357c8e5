"""Rules between settings, as Django system checks: production refuses what development may do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, register, run_checks
from django.urls import NoReverseMatch, reverse
from django.utils.module_loading import import_string
from psycopg.conninfo import conninfo_to_dict

TAG = "cyllm"
LEAST_KEY_LENGTH = 50
LEAST_KEY_CHARACTERS = 10
TLS_MODES = ("require", "verify-ca", "verify-full")
MANIFEST = "staticfiles.json"
FUNCTIONS = ("ADMIN_AUDIT", "TENANT_NAMES")
LOCAL_HOSTS = ("", "localhost", "127.0.0.1", "::1")


@register(TAG)
def check_wiring(**_: Any) -> list[CheckMessage]:
    """The functions that one room needs of another, and gets by name, are there."""
    return [*_functions(), *_pages()]


def _functions() -> Iterator[CheckMessage]:
    for name in FUNCTIONS:
        try:
            found = import_string(getattr(settings, name))
        except ImportError as error:
            yield Error(f"{name} leads nowhere: {error}.", id="cyllm.E008")
        else:
            if not callable(found):
                yield Error(f"{name} names no function.", id="cyllm.E008")


def _pages() -> Iterator[CheckMessage]:
    try:
        reverse(settings.ADMIN_AUDIT_PAGE)
    except NoReverseMatch:
        yield Error("ADMIN_AUDIT_PAGE names no page.", id="cyllm.E008")


@register(TAG)
def check_production(**_: Any) -> list[CheckMessage]:
    """What holds only with ``CYLLM_MODE=production``."""
    if settings.CYLLM.mode != "production":
        return []
    return [*_secrets(), *_transport(), *_backends()]


@register(TAG, deploy=True)
def check_static_files(**_: Any) -> list[CheckMessage]:
    """What only servers need, and ``manage.py check --deploy`` tells beforehand."""
    if settings.CYLLM.mode != "production" or (settings.STATIC_ROOT / MANIFEST).is_file():
        return []
    return [
        Error(
            f"The static files of the pages are not in {settings.STATIC_ROOT}.",
            hint="Run manage.py collectstatic --noinput, now and after each upgrade.",
            id="cyllm.E007",
        )
    ]


def refuse_unsafe_settings() -> None:
    """End the process with all errors; servers call this, because only commands run checks by themselves."""
    found = run_checks(tags=[TAG], include_deployment_checks=True)
    errors = [message for message in found if message.is_serious()]
    if errors:
        raise SystemExit("CY-LLM can't start with these settings:\n  " + "\n  ".join(map(str, errors)))


def _secrets() -> Iterator[CheckMessage]:
    key = settings.SECRET_KEY
    if len(key) < LEAST_KEY_LENGTH or len(set(key)) < LEAST_KEY_CHARACTERS:
        yield Error(
            "CYLLM_SECRET_KEY is too weak for production.",
            hint=f"Use {LEAST_KEY_LENGTH} or more random characters, for instance from "
            "python -c 'import secrets; print(secrets.token_urlsafe(50))'.",
            id="cyllm.E001",
        )
    if settings.DEBUG:
        yield Error("DEBUG must be off in production.", id="cyllm.E002")
    if not settings.ALLOWED_HOSTS or any(host.startswith("*") for host in settings.ALLOWED_HOSTS):
        yield Error(
            "CYLLM_ALLOWED_HOSTS must name the hosts in production.",
            hint="List them, separated by commas, without '*'.",
            id="cyllm.E003",
        )


def _transport() -> Iterator[CheckMessage]:
    if not (settings.SESSION_COOKIE_SECURE and settings.CSRF_COOKIE_SECURE):
        yield Error("Session and CSRF cookies must be secure in production.", id="cyllm.E004")
    if settings.SECURE_HSTS_SECONDS < 3600:
        yield Error("HSTS must be on in production.", id="cyllm.E005")
    if not settings.SECURE_SSL_REDIRECT:
        yield Error("Pages must be redirected to HTTPS in production.", id="cyllm.E006")


def _backends() -> Iterator[CheckMessage]:
    database = conninfo_to_dict(settings.CYLLM.database_url)
    host = str(database.get("host") or "")
    remote = host not in LOCAL_HOSTS and not host.startswith("/")
    if remote and database.get("sslmode") not in TLS_MODES:
        yield checks.Warning(
            "The connection to a remote database is not encrypted for certain.",
            hint="Add sslmode=verify-full to CYLLM_DATABASE_URL.",
            id="cyllm.W001",
        )
    url = settings.CYLLM.redis_url
    if url.startswith("redis://") and (urlsplit(url).hostname or "") not in LOCAL_HOSTS:
        yield checks.Warning(
            "The connection to a remote Redis is not encrypted.",
            hint="Use rediss:// in CYLLM_REDIS_URL.",
            id="cyllm.W002",
        )
