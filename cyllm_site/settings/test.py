"""Settings for tests; the environment, servers included, is made by tests/conftest.py before."""

from __future__ import annotations

from cyllm_site.settings.base import *  # noqa: F403 - Django's way to extend settings

# The real hashers are slow on purpose; tests log in often.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
