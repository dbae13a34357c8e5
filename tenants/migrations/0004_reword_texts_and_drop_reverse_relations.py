"""Changes texts and reverse relations in the model state; the database schema stays the same."""

import django.core.validators
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0003_drop_versions_and_the_unused_scope"),
    ]

    operations = [
        migrations.AlterField(
            model_name="adminaudit",
            name="actor",
            field=models.CharField(max_length=200, verbose_name="actor"),
        ),
        migrations.AlterField(
            model_name="apikey",
            name="expires_at",
            field=models.DateTimeField(
                blank=True,
                help_text="In UTC. A key without a date never expires.",
                null=True,
                verbose_name="valid until",
            ),
        ),
        migrations.AlterField(
            model_name="auditrecord",
            name="key",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="+",
                to="tenants.apikey",
                verbose_name="API key",
            ),
        ),
        migrations.AlterField(
            model_name="auditrecord",
            name="tenant",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="+",
                to="tenants.tenant",
                verbose_name="tenant",
            ),
        ),
        migrations.AlterField(
            model_name="tenant",
            name="active",
            field=models.BooleanField(
                default=True,
                help_text="The API rejects the keys of an inactive tenant.",
                verbose_name="active",
            ),
        ),
        migrations.AlterField(
            model_name="tenant",
            name="slug",
            field=models.CharField(
                help_text="Identifies the tenant in commands and logs: lower-case letters, digits and inner hyphens.",
                max_length=63,
                unique=True,
                validators=[
                    django.core.validators.RegexValidator(
                        "\\A[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\Z",
                        "Use lower-case letters, digits and inner hyphens only.",
                    )
                ],
                verbose_name="short name",
            ),
        ),
        migrations.AlterField(
            model_name="usagerecord",
            name="key",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="+",
                to="tenants.apikey",
                verbose_name="API key",
            ),
        ),
        migrations.AlterField(
            model_name="usagerecord",
            name="tenant",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="+",
                to="tenants.tenant",
                verbose_name="tenant",
            ),
        ),
        migrations.AlterField(
            model_name="usagerecord",
            name="updated_at",
            field=models.DateTimeField(verbose_name="last update"),
        ),
    ]
