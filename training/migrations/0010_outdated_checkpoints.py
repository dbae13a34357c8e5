"""Checkpoints that a job saved before it began anew, as told by its events so far."""

from django.db import migrations, models

MARK = """
UPDATE training_jobcheckpoint AS checkpoint SET is_outdated = true
FROM (
    SELECT job_id, max(number) AS number FROM training_jobevent
    WHERE type = 'message' AND data->>'code' = 'checkpoints_expired' GROUP BY job_id
) AS restart
WHERE checkpoint.job_id = restart.job_id AND NOT EXISTS (
    SELECT FROM training_jobevent AS event
    WHERE event.job_id = restart.job_id AND event.number > restart.number AND event.type = 'message'
    AND event.data->>'checkpoint' = checkpoint.id
)
"""


class Migration(migrations.Migration):
    dependencies = [
        ("training", "0009_event_step"),
    ]

    operations = [
        migrations.AddField(
            model_name="jobcheckpoint",
            name="is_outdated",
            field=models.BooleanField(db_default=False, default=False, editable=False),
        ),
        migrations.RunSQL(MARK, migrations.RunSQL.noop),
    ]
