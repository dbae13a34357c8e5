"""What Celery's beat does for stored responses, tick by tick."""

from __future__ import annotations

import datetime as dt
import logging

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from api.stored_responses.selectors import gateways_waited_for
from api.stored_responses.services import responses_fail_lost, responses_purge
from inference_worker.protocol import names
from tenants.ledger.presence import gateways_gone
from tenants.tasks import AWAY, ledger_client

logger = logging.getLogger("cyllm.stored")

LONGEST_MARGIN = dt.timedelta(seconds=60)


@shared_task(ignore_result=True)
def responses_purge_task() -> int:
    """Delete responses past their retention. What fails is left to the next tick."""
    try:
        return responses_purge(now=timezone.now())
    except AWAY as error:
        logger.warning("purge put off to the next tick: %s", type(error).__name__)
        return 0


@shared_task(ignore_result=True)
def responses_sweep_task() -> int:
    """Mark the responses of gateways that have died as failed. What fails is left to the next tick."""
    longest = dt.timedelta(seconds=settings.CYLLM.total_timeout_s) + LONGEST_MARGIN
    try:
        gone = gateways_gone(
            ledger_client(settings.CYLLM.redis_url),
            gateways_waited_for(),
            missing=names.RESPONSE_GATEWAYS_MISSING,
        )
        return responses_fail_lost(gone=gone, begun_before=timezone.now() - longest)
    except AWAY as error:
        logger.warning("sweep put off to the next tick: %s", type(error).__name__)
        return 0
