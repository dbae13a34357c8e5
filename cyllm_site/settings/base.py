"""Django's settings, derived from the platform's settings."""

from __future__ import annotations

from pathlib import Path

from django.templatetags.static import static
from django.utils.translation import gettext_lazy as _

from cyllm_site.database import database_settings
from cyllm_site.env import settings
from cyllm_site.log import logging_settings

CYLLM = settings()
BASE_DIR = Path(__file__).resolve().parents[2]
PRODUCTION = CYLLM.mode == "production"

SECRET_KEY = CYLLM.secret_key.get_secret_value()
DEBUG = False
ALLOWED_HOSTS = [host.strip() for host in CYLLM.allowed_hosts.split(",") if host.strip()]

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "cyllm_site",
    "tenants",
    "inference_worker.registry",
    "api.stored_responses",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "cyllm_site.static.StaticFilesMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "cyllm_site.urls"
ASGI_APPLICATION = "cyllm_site.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES = {"default": database_settings(CYLLM.database_url, CYLLM.database_timeout_s)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# The registry must not import the packages of these functions and pages, so it looks them up here.
ADMIN_AUDIT = "tenants.admin_audit.admin_audit_record"
ADMIN_AUDIT_PAGE = "admin:tenants_adminaudit_changelist"
TENANT_NAMES = "tenants.selectors.tenant_names"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("zh-hans", _("Simplified Chinese"))]
# One catalogue for all packages. It takes precedence over third-party ones, which share some strings.
LOCALE_PATHS = [BASE_DIR / "cyllm_site" / "locale"]
FORMAT_MODULE_PATH = ["cyllm_site.formats"]
USE_I18N = True
USE_TZ = True
TIME_ZONE = "UTC"

STATIC_URL = "static/"
STATIC_ROOT = CYLLM.state_dir / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        # Hashed names let clients cache files indefinitely, but require manage.py collectstatic.
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if PRODUCTION
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}
# In development, files are served directly from the installed packages.
WHITENOISE_USE_FINDERS = not PRODUCTION
WHITENOISE_AUTOREFRESH = False

SECURE_SSL_REDIRECT = PRODUCTION
SECURE_HSTS_SECONDS = 31_536_000 if PRODUCTION else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = PRODUCTION
SESSION_COOKIE_SECURE = PRODUCTION
CSRF_COOKIE_SECURE = PRODUCTION
SESSION_COOKIE_HTTPONLY = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# Only a trusted proxy may declare the client's connection encrypted.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if CYLLM.trusted_proxies else None

UNFOLD = {
    "SITE_TITLE": "CY-LLM",
    "SITE_HEADER": "CY-LLM",
    "SITE_SUBHEADER": _("Administration"),
    "SITE_SYMBOL": "hub",
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda _request: static("cyllm_site/favicon.svg")}
    ],
    "STYLES": [lambda _request: static("cyllm_site/admin.css")],
    "SITE_URL": None,
    "SHOW_LANGUAGES": True,
    "SIDEBAR": {"navigation": "cyllm_site.navigation.sidebar"},
}

LOGGING = logging_settings(CYLLM.log_level, CYLLM.log_format)
