from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("training", "0001_initial"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="finetuningjob",
            index=models.Index(
                fields=["tenant"],
                name="job_open",
                condition=models.Q(("status__in", ["succeeded", "failed", "cancelled"]), _negated=True),
            ),
        ),
        migrations.AddIndex(
            model_name="finetuningjob",
            index=models.Index(
                fields=["tenant"],
                name="job_validation_leased",
                condition=models.Q(("status", "validating_files"), ("validation_until__isnull", False)),
            ),
        ),
    ]
