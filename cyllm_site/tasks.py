"""Periodic Celery tasks of the gateways' state in Redis."""

from __future__ import annotations

import logging

from celery import shared_task
from django.conf import settings

from api.gateway.streams.event_logs.lost_logs import lost_logs_close
from tenants.outages import postponed_on_outage
from tenants.tasks import ledger_client

logger = logging.getLogger("cyllm.site.tasks")


@shared_task(ignore_result=True)
@postponed_on_outage
def lost_logs_task() -> int:
    """End the event logs of dead gateways."""
    count = lost_logs_close(ledger_client(settings.CYLLM.redis_url), settings.CYLLM)
    if count:
        logger.warning("ended %d streams of dead gateways", count)
    return count
