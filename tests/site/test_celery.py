"""The schedule of Celery's beat."""

from __future__ import annotations


def test_the_schedule_contains_exactly_the_platforms_tasks() -> None:
    from cyllm_site.celery import app

    app.loader.import_default_modules()
    own = {name for name in app.tasks if not name.startswith("celery.")}
    assert {tick["task"] for tick in app.conf.beat_schedule.values()} == own
    assert "api.stored_responses.tasks.responses_purge_task" in own
