"""Indexes of a job's messages and evaluations, built while trainers write the large table."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [
        ("training", "0003_metering"),
    ]

    operations = [
        # An interrupted build leaves an invalid index of its name.
        migrations.RunSQL(
            [
                "DROP INDEX CONCURRENTLY IF EXISTS event_message",
                "DROP INDEX CONCURRENTLY IF EXISTS event_evaluation",
            ],
            migrations.RunSQL.noop,
        ),
        AddIndexConcurrently(
            model_name="jobevent",
            index=models.Index(
                condition=models.Q(("type", "message")), fields=["job", "-number"], name="event_message"
            ),
        ),
        AddIndexConcurrently(
            model_name="jobevent",
            index=models.Index(
                condition=models.Q(("data__has_key", "valid_loss")),
                fields=["job", "number"],
                name="event_evaluation",
            ),
        ),
    ]
