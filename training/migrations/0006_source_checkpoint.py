import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("training", "0005_sample_lines"),
    ]

    operations = [
        migrations.AddField(
            model_name="finetuningjob",
            name="source_checkpoint",
            field=models.ForeignKey(
                blank=True,
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="publications",
                to="training.jobcheckpoint",
                verbose_name="checkpoint to publish",
            ),
        ),
    ]
