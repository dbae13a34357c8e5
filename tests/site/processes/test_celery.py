"""The schedule of Celery's beat."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery
from celery.beat import Scheduler

from cyllm_site.steady_schedule import SteadySchedule, steady_now
from inference_worker.telemetry.log_formatters import TextFormatter
from tests.patience import PATIENCE_S

PERSON = "canary.person@mail.example"


def test_the_schedule_contains_exactly_the_platforms_tasks() -> None:
    from cyllm_site.celery import app

    app.loader.import_default_modules()
    own = {name for name in app.tasks if not name.startswith("celery.")}
    rung = {f"training.tasks.{name}" for name in ("work_task", "job_folders_task", "jobs_validate_task")}
    assert {tick["task"] for tick in app.conf.beat_schedule.values()} == own - rung
    assert "api.stored_responses.tasks.responses_purge_task" in own


@pytest.mark.criterion("6.7")
def test_a_failed_task_is_logged_without_the_message_of_its_error(caplog: pytest.LogCaptureFixture) -> None:
    from cyllm_site.celery import app

    @app.task(name="tests.failing")
    def fail() -> None:
        raise ValueError(PERSON)

    try:
        fail.apply()
    finally:
        app.tasks.pop("tests.failing")
    lines = [TextFormatter().format(record) for record in caplog.records]
    assert len(lines) == 1
    assert "tests.failing failed" in lines[0]
    assert "ValueError" in lines[0]
    assert PERSON not in lines[0]


@pytest.mark.parametrize("jump", [dt.timedelta(hours=-1), dt.timedelta(hours=1)])
def test_a_clock_that_is_set_back_or_forward_stops_no_task(jump: dt.timedelta) -> None:
    app = Celery("test", set_as_current=False)
    ticks = {name: {"task": name, "schedule": SteadySchedule(0.05)} for name in ("one", "two")}
    app.conf.beat_schedule = ticks
    task_names: list[str] = []

    class Recorder(Scheduler):
        producer = None  # type: ignore[assignment]  # no broker

        def apply_async(self, entry: Any, *_: Any, **__: Any) -> None:
            task_names.append(entry.task)

    scheduler = Recorder(app, lazy=False)

    def run(is_over: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not is_over() and time.monotonic() < deadline:
            time.sleep(min(max(scheduler.tick(), 0), 0.05))

    run(lambda: set(task_names) == {"one", "two"})
    task_names.clear()
    app.now = lambda: dt.datetime.now(dt.UTC) + jump  # type: ignore[method-assign]
    run(lambda: min(task_names.count("one"), task_names.count("two")) >= 2)
    assert abs(task_names.count("one") - task_names.count("two")) <= 1
    assert len(task_names) in (4, 5)


def test_a_task_that_last_ran_in_the_future_is_due() -> None:
    schedule = SteadySchedule(60)
    assert schedule.is_due(steady_now() + dt.timedelta(hours=1)) == (True, 60)
    assert schedule.is_due(steady_now() - dt.timedelta(seconds=61)).is_due
    assert not schedule.is_due(steady_now() - dt.timedelta(seconds=30)).is_due
