"""A limit on the time for which a frozen process can hold locks of the queue."""

from __future__ import annotations

from django.conf import settings
from django.db import connection

IDLE_SETTING = "idle_in_transaction_session_timeout"
IDLE_OF_LEASE = 0.5


def limit_idle_time() -> None:
    """Let the database abort the current transaction after half a lease without a statement.

    A process can be stopped, or cut off from the network, between any two statements.
    """
    milliseconds = round(settings.CYLLM.training_lease_s * IDLE_OF_LEASE * 1000)
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config(%s, %s, true)", [IDLE_SETTING, str(milliseconds)])
