"""Periodic Celery tasks of stored responses."""

from __future__ import annotations

import datetime as dt
import logging

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from api.stored_responses.selectors import active_gateways
from api.stored_responses.services import responses_fail_lost, responses_purge
from inference_worker.protocol import names
from tenants.ledger.liveness import dead_gateways
from tenants.tasks import OUTAGE_ERRORS, ledger_client

logger = logging.getLogger("cyllm.stored")

LIFETIME_MARGIN = dt.timedelta(seconds=60)


@shared_task(ignore_result=True)
def responses_purge_task() -> int:
    """Delete expired responses. The next run retries after an outage."""
    try:
        return responses_purge(now=timezone.now())
    except OUTAGE_ERRORS as error:
        logger.warning("purge postponed to the next run: %s", type(error).__name__)
        return 0


@shared_task(ignore_result=True)
def responses_sweep_task() -> int:
    """Fail the open responses of dead gateways. The next run retries after an outage."""
    max_lifetime = dt.timedelta(seconds=settings.CYLLM.total_timeout_s) + LIFETIME_MARGIN
    try:
        dead_ids = dead_gateways(
            ledger_client(settings.CYLLM.redis_url),
            active_gateways(),
            missing_key=names.RESPONSE_GATEWAYS_MISSING,
        )
        return responses_fail_lost(dead_gateways=dead_ids, created_before=timezone.now() - max_lifetime)
    except OUTAGE_ERRORS as error:
        logger.warning("sweep postponed to the next run: %s", type(error).__name__)
        return 0
