"""Periodic Celery tasks of stored responses."""

from __future__ import annotations

import datetime as dt

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from api.stored_responses.selectors import active_gateways
from api.stored_responses.services import responses_expire, responses_fail_lost
from inference_worker.protocol import names
from tenants.ledger.liveness import dead_gateways
from tenants.long_tasks import one_at_a_time
from tenants.outages import postponed_on_outage
from tenants.tasks import ledger_client

LIFETIME_MARGIN = dt.timedelta(seconds=60)


@shared_task(bind=True, ignore_result=True, max_retries=None)
@one_at_a_time
def responses_purge_task() -> int:
    """Delete expired responses."""
    return responses_expire(now=timezone.now())


@shared_task(ignore_result=True)
@postponed_on_outage
def responses_sweep_task() -> int:
    """Fail the open responses of dead gateways."""
    max_lifetime = dt.timedelta(seconds=settings.CYLLM.total_timeout_s) + LIFETIME_MARGIN
    dead_ids = dead_gateways(
        ledger_client(settings.CYLLM.redis_url),
        active_gateways(),
        missing_key=names.RESPONSE_GATEWAYS_MISSING,
    )
    return responses_fail_lost(dead_gateways=dead_ids, created_before=timezone.now() - max_lifetime)
