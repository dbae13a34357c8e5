"""Django system checks of the settings, mostly for production."""

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
MIN_KEY_LENGTH = 50
MIN_KEY_CHARACTERS = 10
TLS_MODES = ("require", "verify-ca", "verify-full")
MANIFEST = "staticfiles.json"
FUNCTIONS = ("ADMIN_AUDIT", "TENANT_NAMES")
LOCAL_HOSTS = ("", "localhost", "127.0.0.1", "::1")


@register(TAG)
def check_wiring(**_: Any) -> list[CheckMessage]:
    """Check that the functions and pages which settings name exist."""
    return [*_functions(), *_pages()]


def _functions() -> Iterator[CheckMessage]:
    for name in FUNCTIONS:
        try:
            function = import_string(getattr(settings, name))
        except ImportError as error:
            yield Error(f"{name} can't be imported: {error}.", id="cyllm.E008")
        else:
            if not callable(function):
                yield Error(f"{name} is not a function.", id="cyllm.E008")


def _pages() -> Iterator[CheckMessage]:
    try:
        reverse(settings.ADMIN_AUDIT_PAGE)
    except NoReverseMatch:
        yield Error("ADMIN_AUDIT_PAGE is not the name of a page.", id="cyllm.E008")


@register(TAG)
def check_production(**_: Any) -> list[CheckMessage]:
    """Check the requirements of ``CYLLM_MODE=production``."""
    if settings.CYLLM.mode != "production":
        return []
    return [*_secrets(), *_transport(), *_backends()]


@register(TAG, deploy=True)
def check_static_files(**_: Any) -> list[CheckMessage]:
    """Check that static files are collected. Only servers and ``manage.py check --deploy`` run this."""
    if settings.CYLLM.mode != "production" or (settings.STATIC_ROOT / MANIFEST).is_file():
        return []
    return [
        Error(
            f"Static files are missing in {settings.STATIC_ROOT}.",
            hint="Run manage.py collectstatic --noinput now and after each upgrade.",
            id="cyllm.E007",
        )
    ]


def refuse_unsafe_settings() -> None:
    """Exit with all errors. Servers call this, because Django runs checks only for commands."""
    messages = run_checks(tags=[TAG], include_deployment_checks=True)
    errors = [message for message in messages if message.is_serious()]
    if errors:
        raise SystemExit("CY-LLM can't start with these settings:\n  " + "\n  ".join(map(str, errors)))


def _secrets() -> Iterator[CheckMessage]:
    key = settings.SECRET_KEY
    if len(key) < MIN_KEY_LENGTH or len(set(key)) < MIN_KEY_CHARACTERS:
        yield Error(
            "CYLLM_SECRET_KEY is too weak for production.",
            hint=f"Use at least {MIN_KEY_LENGTH} random characters, for example from "
            "python -c 'import secrets; print(secrets.token_urlsafe(50))'.",
            id="cyllm.E001",
        )
    if settings.DEBUG:
        yield Error("DEBUG must be off in production.", id="cyllm.E002")
    if not settings.ALLOWED_HOSTS or any(host.startswith("*") for host in settings.ALLOWED_HOSTS):
        yield Error(
            "CYLLM_ALLOWED_HOSTS must list the host names in production.",
            hint="Separate them with commas and don't use '*'.",
            id="cyllm.E003",
        )


def _transport() -> Iterator[CheckMessage]:
    if not (settings.SESSION_COOKIE_SECURE and settings.CSRF_COOKIE_SECURE):
        yield Error("Session and CSRF cookies must be secure in production.", id="cyllm.E004")
    if settings.SECURE_HSTS_SECONDS < 3600:
        yield Error("HSTS must be enabled in production.", id="cyllm.E005")
    if not settings.SECURE_SSL_REDIRECT:
        yield Error("Pages must redirect to HTTPS in production.", id="cyllm.E006")


def _backends() -> Iterator[CheckMessage]:
    database = conninfo_to_dict(settings.CYLLM.database_url)
    host = str(database.get("host") or "")
    remote = host not in LOCAL_HOSTS and not host.startswith("/")
    if remote and database.get("sslmode") not in TLS_MODES:
        yield checks.Warning(
            "The connection to a remote database may be unencrypted.",
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
