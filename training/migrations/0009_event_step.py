"""The index of a step's events, built while trainers write the large table."""

import django.db.models.fields.json
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [
        ("training", "0008_attempt_log"),
    ]

    operations = [
        # An interrupted build leaves an invalid index of this name.
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS event_step", migrations.RunSQL.noop),
        AddIndexConcurrently(
            model_name="jobevent",
            index=models.Index(
                "job",
                django.db.models.fields.json.KeyTransform("step", "data"),
                "number",
                condition=models.Q(("data__has_key", "train_loss"), ("type", "metrics")),
                name="event_step",
            ),
        ),
    ]
