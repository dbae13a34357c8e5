"""Drops versions that nothing compared, and the scope that opened nothing."""

import django.contrib.postgres.fields
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0002_admin_audit_append_only"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="apikey",
            name="key_scopes_known",
        ),
        migrations.RunSQL(
            "UPDATE tenants_apikey SET scopes = array_remove(scopes, 'admin') WHERE 'admin' = ANY(scopes)",
            migrations.RunSQL.noop,
        ),
        migrations.RemoveField(
            model_name="apikey",
            name="version",
        ),
        migrations.RemoveField(
            model_name="tenant",
            name="version",
        ),
        migrations.AlterField(
            model_name="apikey",
            name="scopes",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(
                    choices=[("inference", "run models"), ("models.read", "list models")], max_length=32
                ),
                default=list,
                size=None,
                verbose_name="scopes",
            ),
        ),
        migrations.AddConstraint(
            model_name="apikey",
            constraint=models.CheckConstraint(
                condition=models.Q(("scopes__contained_by", ["inference", "models.read"])),
                name="key_scopes_known",
            ),
        ),
    ]
