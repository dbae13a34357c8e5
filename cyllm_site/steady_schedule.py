"""Intervals of Celery's beat that don't depend on the machine's clock, which may be set back or forward."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable

from celery import Celery
from celery.schedules import schedstate, schedule
from typing_extensions import override

_started_at, _start_s = dt.datetime.now(dt.UTC), time.monotonic()


def steady_now() -> dt.datetime:
    """Return the time when the process started plus the time that has passed since."""
    return _started_at + dt.timedelta(seconds=time.monotonic() - _start_s)


class SteadySchedule(schedule):
    """An interval. With Celery's own, a clock set back by an hour would stop all tasks for an hour."""

    def __init__(
        self,
        run_every: float | dt.timedelta | None = None,
        relative: bool = False,
        nowfun: Callable[[], dt.datetime] | None = steady_now,
        app: Celery | None = None,
    ) -> None:
        super().__init__(run_every, relative, nowfun, app)

    @override
    def is_due(self, last_run_at: dt.datetime) -> schedstate:
        """Return whether the task is due, and the seconds until the next check."""
        if self.maybe_make_aware(last_run_at) > self.now():
            # An earlier process ran it by a clock that has been set back.
            return schedstate(is_due=True, next=self.seconds)
        return super().is_due(last_run_at)
