"""Settings for tools and commands that need no servers: mypy, makemigrations --check, documentation."""

from __future__ import annotations

import os

PLACEHOLDERS = {
    "CYLLM_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
    "CYLLM_REDIS_URL": "redis://127.0.0.1:1/0",
    "CYLLM_SECRET_KEY": "for-reading-the-code-only-never-for-serving-anything",
}
for name, placeholder in PLACEHOLDERS.items():
    os.environ[name] = os.environ.get(name) or placeholder

from cyllm_site.settings.base import *  # noqa: E402, F403 - needs the addresses above
