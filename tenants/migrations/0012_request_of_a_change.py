"""The id of the request or command that made an administrative change; empty in earlier rows."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tenants", "0011_playground_keys")]

    operations = [
        migrations.AddField(
            model_name="adminaudit",
            name="request_id",
            # Processes of the version before, which insert rows without it, run until they are restarted.
            field=models.CharField(
                blank=True, db_default="", default="", max_length=64, verbose_name="request id"
            ),
        ),
        migrations.AddIndex(
            model_name="adminaudit",
            index=models.Index(
                condition=models.Q(("request_id", ""), _negated=True),
                fields=["request_id"],
                name="admin_audit_request",
            ),
        ),
    ]
