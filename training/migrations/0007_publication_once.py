"""At most one open job publishes a checkpoint. Of several, all but the newest are cancelled."""

from django.db import migrations, models
from django.utils import timezone

END_STATUSES = ["succeeded", "failed", "cancelled"]


def cancel_older_publications(apps, schema_editor):
    """Keep each checkpoint's newest open job; processes of the version before can't add another meanwhile."""
    jobs = apps.get_model("training", "FineTuningJob").objects
    schema_editor.execute("LOCK TABLE training_finetuningjob IN SHARE ROW EXCLUSIVE MODE")
    newest_ids = {}
    open_jobs = jobs.filter(source_checkpoint__isnull=False).exclude(status__in=END_STATUSES)
    for job in open_jobs.order_by("-created_at", "-id"):
        newest_id = newest_ids.setdefault(job.source_checkpoint_id, job.id)
        if newest_id != job.id:
            _cancel(apps, job, newest_id)
    # Deferred checks of the new rows would refuse the constraint.
    schema_editor.execute("SET CONSTRAINTS ALL IMMEDIATE")


def _cancel(apps, job, newest_id):
    now = timezone.now()
    # The worker of a running attempt stops when its next write is refused. It has trained, so owes, nothing.
    attempts = apps.get_model("training", "JobAttempt").objects.filter(job=job, outcome="running")
    attempts.update(outcome="cancelled", ended_at=now)
    message = f"Fine-tuning job cancelled, because the newer job {newest_id} publishes the same checkpoint"
    apps.get_model("training", "JobEvent").objects.create(
        job=job, number=job.next_event, at=now, level="warn", type="message", message=message
    )
    job.status, job.phase, job.requested_action, job.next_event = "cancelled", "", "", job.next_event + 1
    job.finished_at, job.estimated_finish, job.not_before = now, None, None
    job.save()


class Migration(migrations.Migration):
    dependencies = [
        ("training", "0006_source_checkpoint"),
    ]

    operations = [
        migrations.RunPython(cancel_older_publications, migrations.RunPython.noop),
        migrations.AddConstraint(
            model_name="finetuningjob",
            constraint=models.UniqueConstraint(
                fields=["source_checkpoint"],
                condition=models.Q(("status__in", END_STATUSES), _negated=True),
                name="job_publication_once",
            ),
        ),
    ]
