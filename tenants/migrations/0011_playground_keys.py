"""The purpose of API keys, and at most one live playground key per person and tenant."""

from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0010_reserved_amounts"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="apikey",
            name="purpose",
            field=models.CharField(
                choices=[("programs", "programs"), ("playground", "playground")],
                default="programs",
                editable=False,
                max_length=16,
                verbose_name="purpose",
            ),
        ),
        migrations.AddConstraint(
            model_name="apikey",
            constraint=models.CheckConstraint(
                condition=models.Q(("purpose__in", ["programs", "playground"])), name="key_purpose_known"
            ),
        ),
        migrations.AddConstraint(
            model_name="apikey",
            constraint=models.UniqueConstraint(
                condition=models.Q(("purpose", "playground"), ("revoked_at", None)),
                fields=("tenant", "created_by"),
                name="key_playground_once",
            ),
        ),
    ]
