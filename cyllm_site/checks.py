"""Django system checks of the settings, mostly for production."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib import admin
from django.core import checks
from django.core.checks import CheckMessage, Error, register, run_checks
from django.urls import NoReverseMatch, reverse
from django.utils.module_loading import import_string
from psycopg.conninfo import conninfo_to_dict

from backoffice.tenant_access import TenantAccess

TAG = "cyllm"
MIN_KEY_LENGTH = 50
MIN_KEY_CHARACTERS = 10
MANIFEST = "staticfiles.json"
FUNCTIONS = (
    *("ADMIN_AUDIT", "CLIENT_ADDRESS", "SESSION_POLICY", "TENANT_NAMES", "TENANTS_OF_USER"),
    *("USABLE_MODEL_NAMES", "FILE_USES", "FILE_CHECK"),
)
MANY_PROXIES = 3
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
def check_tenant_access(**_: Any) -> list[CheckMessage]:
    """Check that every admin page states how its rows belong to tenants."""
    return [
        Error(f"{type(page).__name__} doesn't state its tenant_path.", id="cyllm.E009")
        for page in admin.site._registry.values()
        if not isinstance(page, TenantAccess) or not hasattr(page, "tenant_path")
    ]


@register(TAG)
def check_file_storage(**_: Any) -> list[CheckMessage]:
    """Check that the library of the file storage is installed."""
    if not settings.CYLLM.file_storage_url or find_spec("boto3"):
        return []
    return [
        Error(
            "CYLLM_FILE_STORAGE_URL names an S3 bucket, but the package boto3 is not installed.",
            hint="Install it with pip install 'django-storages[s3]'.",
            id="cyllm.E010",
        )
    ]


@register(TAG)
def check_production(**_: Any) -> list[CheckMessage]:
    """Check the requirements of ``CYLLM_MODE=production``."""
    if settings.CYLLM.mode != "production":
        return []
    return [*_secrets(), *_transport(), *_backends(), *_access()]


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
    if not (settings.SECURE_SSL_REDIRECT and settings.REQUIRE_HTTPS):
        yield Error("Pages must redirect to HTTPS in production, and the API require it.", id="cyllm.E006")


def _backends() -> Iterator[CheckMessage]:
    database = conninfo_to_dict(settings.CYLLM.database_url)
    host = str(database.get("host") or "")
    remote = host not in LOCAL_HOSTS and not host.startswith("/")
    if remote and database.get("sslmode") != "verify-full":
        yield checks.Warning(
            "The connection to a remote database doesn't verify the server, or is not encrypted.",
            hint="Add sslmode=verify-full to CYLLM_DATABASE_URL, and sslrootcert for a private authority.",
            id="cyllm.W001",
        )
    if _is_plain_remote(settings.CYLLM.redis_url):
        yield checks.Warning(
            "The connection to a remote Redis is not encrypted.",
            hint="Use rediss:// in CYLLM_REDIS_URL.",
            id="cyllm.W002",
        )
    if _is_plain_remote(settings.CYLLM.broker_url):
        yield checks.Warning(
            "The connection to Celery's remote broker is not encrypted.",
            hint="Use rediss:// or amqps:// in CYLLM_BROKER_URL.",
            id="cyllm.W003",
        )


def _is_plain_remote(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("redis", "amqp") and (parts.hostname or "") not in LOCAL_HOSTS


def _access() -> Iterator[CheckMessage]:
    if not settings.REQUIRE_TWO_FACTOR:
        yield checks.Warning(
            "Staff can sign in with a password alone.",
            hint="Remove CYLLM_REQUIRE_TWO_FACTOR=false.",
            id="cyllm.W004",
        )
    if settings.ALLOWED_HOSTS and all(host.strip("[]") in LOCAL_HOSTS for host in settings.ALLOWED_HOSTS):
        yield checks.Warning(
            "CYLLM_ALLOWED_HOSTS names this machine only, so browsers elsewhere get an error.",
            hint="Add the host name of the platform, such as llm.example.",
            id="cyllm.W005",
        )
    if settings.CYLLM.trusted_proxies > MANY_PROXIES:
        yield checks.Warning(
            f"CYLLM_TRUSTED_PROXIES is {settings.CYLLM.trusted_proxies}: clients choose their own address "
            "if fewer proxies than that are in front.",
            hint="Set the number of proxies that add to X-Forwarded-For.",
            id="cyllm.W006",
        )
