"""``manage.py jobs``: list, show, create and control fine-tuning jobs, and follow their events."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress

from django.core.management.base import CommandError, CommandParser

from backoffice.command_base import (
    Handler,
    Options,
    SubcommandsCommand,
    command_actor,
    printable,
    unknown_name,
)
from tenants.management.arguments import limit_argument, newest
from tenants.management.lookup import tenant_by_name, tenant_filter
from tenants.management.purges import purge_arguments, purge_bounds, purge_row, purge_text
from training.choices import END_STATUSES, JobAction, JobStatus
from training.jobs import selectors, services
from training.jobs.checkpoint_jobs import CheckpointRefusedError, checkpoint_publish
from training.jobs.event_retention import events_purge, purgeable_events
from training.jobs.transition_errors import JobTransitionError
from training.management.job_options import argument_name, create_arguments, engine_rank, job_request
from training.management.job_rows import (
    attempt_row,
    cell_text,
    checkpoint_row,
    event_row,
    job_details,
    job_row,
)
from training.models import FineTuningJob, JobEvent
from training.requests.refusals import JobRefusedError

POLL_S = 0.5


class Command(SubcommandsCommand):
    """List, show, create and control fine-tuning jobs."""

    help = (
        "List, show, create, cancel, pause and resume fine-tuning jobs, publish their checkpoints, and "
        "follow their events."
    )
    example_arguments = {
        "list": ("--tenant acme --status running",),
        "show": ("ftjob-abc123",),
        "create": ("--tenant acme --model smollm2 --training-file file-abc123",),
        "cancel": ("ftjob-abc123",),
        "pause": ("ftjob-abc123",),
        "resume": ("ftjob-abc123",),
        "publish": ("ftjob-abc123 40",),
        "events": ("ftjob-abc123 --follow",),
        "purge-events": ("--before 2026-01-01 --tenant acme", "--before 2026-01-01 --yes"),
    }

    def subcommands(self, add: Callable[[str, Handler, str], CommandParser]) -> None:
        """Declare list, show, create, cancel, pause, resume, publish, events and purge-events."""
        listing = add("list", self._list, "list jobs, newest first")
        listing.add_argument("--tenant", metavar="SLUG", help="only this tenant's jobs")
        listing.add_argument("--status", choices=JobStatus.values, help="only jobs with this status")
        limit_argument(listing)
        _job_argument(add("show", self._show, "show all about a job, its attempts and checkpoints"))
        create_arguments(add("create", self._create, "check the files and create a job"))
        for action in JobAction.values:
            _job_argument(add(action, self._act, f"{action} a job"))
        publish = add("publish", self._publish, "publish a checkpoint as a model, by a job of its own")
        _job_argument(publish)
        publish.add_argument("step", type=int, help="step of the checkpoint")
        events = add("events", self._events, "show the events of a job, oldest first")
        _job_argument(events)
        events.add_argument(
            "--follow", action="store_true", help="wait for further events until the job ends"
        )
        text = (
            "delete the events of jobs that ended before TIME, except the last one of each; this is audited"
        )
        purge_arguments(add("purge-events", self._purge, text))

    def _list(self, options: Options) -> None:
        tenant = tenant_filter(options["tenant"])
        jobs = selectors.jobs(tenant_id=tenant.id if tenant else None, status=options["status"])
        self.show([job_row(job) for job in newest(jobs, options, self.stderr)], options)

    def _show(self, options: Options) -> None:
        job = _job(options["job"])
        attempts = [attempt_row(attempt) for attempt in selectors.attempts(job)]
        checkpoints = [checkpoint_row(checkpoint) for checkpoint in selectors.checkpoints(job)]
        if options["json"]:
            self.show_one(job_details(job) | {"attempts": attempts, "checkpoints": checkpoints}, options, "")
            return
        lines = [{"field": name, "value": cell_text(value)} for name, value in job_details(job).items()]
        for rows in (lines, attempts, checkpoints):
            if rows:
                self.show(rows, options)

    def _create(self, options: Options) -> None:
        tenant = tenant_by_name(options["tenant"])
        with job_request(tenant, options) as request:
            rank = engine_rank(request.base_model)
            actor = command_actor()
            try:
                job = services.job_create(request, tenant_id=tenant.id, actor=actor, engine_rank=rank)
            except JobRefusedError as error:
                refusal = error.refusal
                raise CommandError(f"{argument_name(refusal.param)}{refusal.message}.") from error
        self.show_one(job_row(job), options, f"Job {job.id} created. {_follow_hint(job)}")

    def _act(self, options: Options) -> None:
        job = _job(options["job"])
        try:
            action = JobAction(options["subcommand"])
            job = services.job_act(action, job_id=job.id, actor=command_actor())
        except JobTransitionError as error:
            raise CommandError(str(error)) from error
        state = f"is {job.status}"
        if job.requested_action:
            state += f"; requested: {job.requested_action}"
        self.show_one(job_row(job), options, f"Job {job.id} {state}.")

    def _publish(self, options: Options) -> None:
        source = _job(options["job"])
        checkpoint = selectors.checkpoints(source).filter(step=options["step"]).first()
        if checkpoint is None:
            steps = ", ".join(str(row.step) for row in selectors.checkpoints(source)) or "none"
            raise CommandError(f"{source.id} has no checkpoint of step {options['step']}. It has: {steps}.")
        try:
            job = checkpoint_publish(
                tenant_id=source.tenant_id,
                job_id=source.id,
                checkpoint_id=checkpoint.id,
                actor=command_actor(),
            )
        except CheckpointRefusedError as error:
            raise CommandError(str(error)) from error
        self.show_one(job_row(job), options, f"Job {job.id} publishes the checkpoint. {_follow_hint(job)}")

    def _events(self, options: Options) -> None:
        job = _job(options["job"])
        if not options["follow"]:
            self.show([event_row(event) for event in selectors.events_after(job, 0)], options)
            return
        with suppress(KeyboardInterrupt):
            self._follow(job, options)

    def _purge(self, options: Options) -> None:
        bounds = purge_bounds(options)
        tenant_id = bounds.tenant.id if bounds.tenant else None
        if options["yes"]:
            count = events_purge(before=bounds.before, tenant_id=tenant_id, actor=command_actor())
        else:
            count = purgeable_events(before=bounds.before, tenant_id=tenant_id)
        counts = {"events_of_jobs": count}
        self.show_one(purge_row(counts, options), options, purge_text(counts, options))

    def _follow(self, job: FineTuningJob, options: Options) -> None:
        number = 0
        while True:
            job.refresh_from_db()  # before the events: the last one comes with the end
            for event in selectors.events_after(job, number):
                self._print_event(event, options)
                number = event.number
            if job.status in END_STATUSES:
                return
            time.sleep(POLL_S)

    def _print_event(self, event: JobEvent, options: Options) -> None:
        row = event_row(event)
        text = f"{event.at:%Y-%m-%d %H:%M:%SZ}  {event.level:5}  {printable(event.message)}"
        line = json.dumps(row | {"data": event.data}, default=str, ensure_ascii=False)
        self._write(line if options["json"] else text)


def _job_argument(parser: CommandParser) -> None:
    parser.add_argument("job", help="id of the job, ftjob-…")


def _follow_hint(job: FineTuningJob) -> str:
    return f"Follow it with `manage.py jobs events {job.id} --follow`."


def _job(job_id: str) -> FineTuningJob:
    job = selectors.jobs().filter(id=job_id).first() if "\0" not in job_id else None
    if job is None:
        ids = selectors.jobs().values_list("id", flat=True)[:1000]
        raise unknown_name("job", job_id, ids, "Run `manage.py jobs list` to see all.")
    return job
