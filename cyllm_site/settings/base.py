"""Django's settings, derived from the platform's settings."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from django.templatetags.static import static
from django.urls import reverse_lazy
from django.utils.translation import gettext_lazy as _

from cyllm_site.middleware.content_security import STRICT
from cyllm_site.settings.database import database_settings
from cyllm_site.settings.env import settings
from cyllm_site.settings.log import logging_settings
from tenants.files.settings import bucket_address, storage_settings

CYLLM = settings()
BASE_DIR = Path(__file__).resolve().parents[2]
PRODUCTION = CYLLM.mode == "production"

SECRET_KEY = CYLLM.secret_key.get_secret_value()
SECRET_KEY_FALLBACKS = [key for key in CYLLM.old_secret_keys.get_secret_value().split(",") if key]
DEBUG = False
ALLOWED_HOSTS = [host.strip() for host in CYLLM.allowed_hosts.split(",") if host.strip()]

INSTALLED_APPS = [
    "unfold.apps.BasicAppConfig",
    "unfold.contrib.filters",
    "cyllm_site.overview.apps.OverviewConfig",  # django.contrib.admin
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "axes",
    "django_otp",
    "django_otp.plugins.otp_totp",
    "django_otp.plugins.otp_static",
    "cyllm_site",
    "tenants",
    "tenants.audit_trail",
    "tenants.files",
    "tenants.usage",
    "inference_worker.registry",
    "training",
    "api.stored_responses",
    "api.console",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "api.admin_api",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "cyllm_site.middleware.content_security.ContentSecurityPolicy",
    "cyllm_site.middleware.static_files.StaticFilesMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "cyllm_site.sign_in.sessions.SessionLimits",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
    "cyllm_site.sign_in.address_locks.SignInSerialization",
    "cyllm_site.middleware.unusable_input.UnusableInput",
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
ADMIN_AUDIT = "tenants.audit_trail.changes.admin_audit_record"
ADMIN_AUDIT_PAGE = "admin:tenants_adminaudit_changelist"
CELERY_APP = "cyllm_site.celery.app"
OBJECT_VERSION = "tenants.audit_trail.selectors.object_version"
TENANT_NAMES = "tenants.selectors.tenant_names"
TENANTS_OF_USER = "tenants.members.selectors.tenants_of_user"
# Nor may tenants import the registry, whose names the limits of tenants and keys contain.
USABLE_MODEL_NAMES = "inference_worker.registry.readiness.usable_model_names"
# Records of requests hold the codes of errors, which the API explains.
ERROR_EXPLANATION = "api.openai.errors.explanation.explain"
# The administrative API and the console may not import this package or the gateway.
CLIENT_ADDRESS = "cyllm_site.sign_in.addresses.request_ip"
SESSION_POLICY = "cyllm_site.sign_in.sessions.may_continue"
# Nor may uploaded files import the jobs that use them, or the check of their datasets.
FILE_USES = "training.jobs.selectors.open_jobs_of_file"
FILE_CHECK = "training.requests.file_check.training_file_check"

AUTHENTICATION_BACKENDS = [
    "cyllm_site.sign_in.throttle.SignInBackend",
    "django.contrib.auth.backends.ModelBackend",
]
REQUIRE_TWO_FACTOR = PRODUCTION if CYLLM.require_two_factor is None else CYLLM.require_two_factor
OTP_TOTP_ISSUER = "CY-LLM"
AXES_HANDLER = "cyllm_site.sign_in.throttle.SignInHandler"
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]  # the handler adds the limit per address
AXES_FAILURE_LIMIT = CYLLM.sign_in_failures
AXES_COOLOFF_TIME = dt.timedelta(seconds=CYLLM.sign_in_lock_s)
AXES_CLIENT_IP_CALLABLE = "cyllm_site.sign_in.addresses.counted_address"
AXES_LOCKOUT_CALLABLE = "cyllm_site.sign_in.pages.locked_page"
AXES_RESET_ON_SUCCESS = True
# Refused attempts don't extend the lock: colleagues share addresses.
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
# The administrative audit trail is the permanent record (cyllm_site.sign_in.trail).
AXES_DISABLE_ACCESS_LOG = True
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False

REST_FRAMEWORK = {
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],  # no browsable pages
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "api.admin_api.exceptions.error_response",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "CY-LLM administration",
    "VERSION": "1",
    "DESCRIPTION": "Tenants, members, keys, limits, models, usage, audit, jobs and workers. The public API "
    "has a document of its own, /openapi.json.",
    "OAS_VERSION": "3.1.0",
    "SCHEMA_PATH_PREFIX": "/api/admin/v1",
    "SERVERS": [{"url": "/"}],
    "POSTPROCESSING_HOOKS": [],  # the schemas name their own choices
}

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
    # Uploaded files and artifacts.
    "default": storage_settings(bucket_address(CYLLM.file_storage_url), CYLLM.state_dir / "files"),
    "staticfiles": {
        # Hashed names let clients cache files indefinitely, but require manage.py collectstatic.
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if PRODUCTION
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}
# Uploads until they are complete, on the disk of the default storage's folder, which then moves them.
FILE_INCOMING_DIR = CYLLM.state_dir.absolute() / "uploads"
# In development, files are served directly from the installed packages.
WHITENOISE_USE_FINDERS = not PRODUCTION
WHITENOISE_AUTOREFRESH = False

# Applies to the API, which doesn't pass through Django; pages redirect.
REQUIRE_HTTPS = PRODUCTION
SECURE_SSL_REDIRECT = PRODUCTION
SECURE_HSTS_SECONDS = 31_536_000 if PRODUCTION else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = PRODUCTION
SESSION_ENGINE = "cyllm_site.sign_in.session_store"
SESSION_COOKIE_AGE = int(CYLLM.session_idle_s)
SESSION_COOKIE_SECURE = PRODUCTION
CSRF_COOKIE_SECURE = PRODUCTION
SESSION_COOKIE_HTTPONLY = True
# Preloading binds a domain and all its subdomains for years: its owner decides, not this platform.
SILENCED_SYSTEM_CHECKS = ["security.W021"]
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {"DIRECTIVES": STRICT}
CSRF_FAILURE_VIEW = "cyllm_site.pages.errors.form_expired"
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
    # Without colours, the theme writes no style element.
    "COLORS": {},
    "BORDER_RADIUS": None,
    "STYLES": [
        lambda _request: static("cyllm_site/colours.css"),
        lambda _request: static("cyllm_site/admin.css"),
    ],
    "SCRIPTS": [
        lambda _request: static("cyllm_site/admin.js"),
        lambda _request: static("cyllm_site/send_once.js"),
    ],
    "SITE_URL": None,
    "SHOW_LANGUAGES": True,
    "ACCOUNT": {
        "navigation": [
            {"title": _("Console"), "link": reverse_lazy("console:home")},
            {"title": _("Change password"), "link": reverse_lazy("admin:password_change")},
            {"title": _("Second factor"), "link": reverse_lazy("two-factor")},
        ]
    },
    "SIDEBAR": {"navigation": "cyllm_site.pages.navigation.sidebar"},
}

LOGGING = logging_settings(CYLLM.log_level, CYLLM.log_format, CYLLM.log_levels)
