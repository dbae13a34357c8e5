"""Settings for tests. tests/embedded.py sets the environment first."""

from __future__ import annotations

from cyllm_site.settings.base import *  # noqa: F403 - Django's way to extend settings

# The default hashers are deliberately slow.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
