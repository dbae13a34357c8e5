import django.db.models.fields.json
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("training", "0008_attempt_log"),
    ]

    operations = [
        migrations.AddIndex(
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
