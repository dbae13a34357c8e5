from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("training", "0004_event_indexes"),
    ]

    operations = [
        migrations.CreateModel(
            name="JobSampleLines",
            fields=[
                (
                    "job",
                    models.OneToOneField(
                        on_delete=models.deletion.CASCADE,
                        primary_key=True,
                        related_name="sample_lines",
                        serialize=False,
                        to="training.finetuningjob",
                        verbose_name="job",
                    ),
                ),
                ("packed", models.BinaryField(verbose_name="lines")),
            ],
            options={
                "verbose_name": "lines of samples",
                "verbose_name_plural": "lines of samples",
                "ordering": ["job"],
            },
        ),
    ]
