"""Periodic Celery task of uploaded files."""

from __future__ import annotations

from celery import shared_task

from tenants.files.sweep import files_expire, objects_sweep
from tenants.outages import postponed_on_outage


@shared_task(ignore_result=True)
@postponed_on_outage
def files_sweep_task() -> int:
    """Delete expired files and orphaned objects."""
    return files_expire() + objects_sweep()
