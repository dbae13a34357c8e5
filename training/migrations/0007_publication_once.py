from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("training", "0006_source_checkpoint"),
    ]

    operations = [
        migrations.AddConstraint(
            model_name="finetuningjob",
            constraint=models.UniqueConstraint(
                fields=["source_checkpoint"],
                condition=models.Q(("status__in", ["succeeded", "failed", "cancelled"]), _negated=True),
                name="job_publication_once",
            ),
        ),
    ]
