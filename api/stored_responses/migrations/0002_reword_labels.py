"""Changes labels in the model state; the database schema stays the same."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("stored", "0001_initial"),
    ]

    operations = [
        migrations.AlterField(
            model_name="storedresponse",
            name="background",
            field=models.BooleanField(default=False, verbose_name="background"),
        ),
        migrations.AlterField(
            model_name="storedresponse",
            name="expires_at",
            field=models.DateTimeField(verbose_name="expires"),
        ),
    ]
