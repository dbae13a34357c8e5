"""The purging process: a module of its own, because a spawned process can't import ``__main__``."""

from __future__ import annotations

import multiprocessing
import os
import secrets
import time
from multiprocessing.synchronize import Event
from pathlib import Path

KEEP_DAYS = 30


def set_up(url: str, folder: Path) -> None:
    """Set up Django on the database."""
    os.environ.update(
        DJANGO_SETTINGS_MODULE="cyllm_site.settings.base",
        CYLLM_DATABASE_URL=url,
        CYLLM_REDIS_URL="redis://127.0.0.1:1",
        CYLLM_STATE_DIR=str(folder / "state"),
    )
    os.environ.setdefault("CYLLM_SECRET_KEY", secrets.token_urlsafe(48))
    import django

    django.setup()


def purge(url: str, folder: Path, has_begun: Event, result: multiprocessing.Queue[tuple[int, float]]) -> None:
    """Purge, and put the number of records and the seconds into ``result``."""
    set_up(url, folder)
    from django.utils import timezone

    from tenants.audit_trail.purge import audit_retention

    has_begun.set()
    start = time.monotonic()
    count = audit_retention(now=timezone.now(), default_days=KEEP_DAYS, actor="benchmark")
    result.put((count, time.monotonic() - start))
