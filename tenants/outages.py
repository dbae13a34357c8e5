"""Outages of Postgres and Redis, and a decorator for periodic tasks that postpones work during an outage."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import ParamSpec

import redis
from django.db import DatabaseError, DataError, IntegrityError, InterfaceError, ProgrammingError

logger = logging.getLogger("cyllm.tasks")

DATABASE_ERRORS = (DatabaseError, InterfaceError)
OUTAGE_ERRORS = (*DATABASE_ERRORS, redis.RedisError)
P = ParamSpec("P")


def is_outage(error: BaseException) -> bool:
    """Return whether the error of Postgres or Redis may disappear by itself, unlike a wrong value."""
    return isinstance(error, OUTAGE_ERRORS) and not isinstance(
        error, DataError | IntegrityError | ProgrammingError
    )


def postponed_on_outage(work: Callable[P, int]) -> Callable[P, int]:
    """Decorate periodic work: during an outage it logs a warning and returns 0, and the next run does it."""

    @functools.wraps(work)
    def run(*args: P.args, **kwargs: P.kwargs) -> int:
        try:
            return work(*args, **kwargs)
        except OUTAGE_ERRORS as error:
            if not is_outage(error):
                raise
            logger.warning("%s postponed to the next run: %s", work.__name__, type(error).__name__)
            return 0

    return run
