"""Settings for tools that need no servers: mypy, makemigrations --check, documentation."""

from __future__ import annotations

import os

os.environ.setdefault("CYLLM_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
os.environ.setdefault("CYLLM_REDIS_URL", "redis://127.0.0.1:1/0")
os.environ.setdefault("CYLLM_SECRET_KEY", "for-reading-the-code-only-never-for-serving-anything")

from cyllm_site.settings.base import *  # noqa: F403 - needs the defaults above
