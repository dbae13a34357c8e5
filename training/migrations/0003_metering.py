"""The price of a job, and the tokens of its attempts."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("training", "0002_open_jobs")]

    operations = [
        migrations.AddField(
            model_name="finetuningjob",
            name="training_price",
            field=models.PositiveBigIntegerField(
                default=0, editable=False, verbose_name="price of trained tokens"
            ),
        ),
        migrations.AddField(
            model_name="jobattempt",
            name="trained_tokens",
            field=models.PositiveBigIntegerField(blank=True, null=True, verbose_name="trained tokens"),
        ),
        migrations.AddField(
            model_name="jobattempt",
            name="charged_tokens",
            field=models.PositiveBigIntegerField(default=0, verbose_name="charged tokens"),
        ),
    ]
