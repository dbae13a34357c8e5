from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("training", "0007_publication_once"),
    ]

    operations = [
        migrations.AddField(
            model_name="jobattempt",
            name="log",
            field=models.TextField(blank=True, db_default="", default="", verbose_name="log of the trainer"),
        ),
    ]
