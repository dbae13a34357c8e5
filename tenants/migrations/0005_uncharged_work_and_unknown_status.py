"""Adds work that is not charged; an unknown status is null instead of 0."""

from django.db import migrations, models

_UNKNOWN_STATUS = [
    migrations.RunSQL(
        "UPDATE tenants_auditrecord SET status = NULL WHERE status = 0",
        "UPDATE tenants_auditrecord SET status = 0 WHERE status IS NULL",
    ),
    migrations.RunSQL(
        "UPDATE tenants_usagerecord SET status = NULL WHERE status = 0", migrations.RunSQL.noop
    ),
]


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0004_reword_texts_and_drop_reverse_relations"),
    ]

    operations = [
        migrations.AddField(
            model_name="usagerecord",
            name="is_charged",
            field=models.BooleanField(default=True, verbose_name="charged"),
        ),
        migrations.AddField(
            model_name="usagerecord",
            name="wasted_tokens",
            field=models.PositiveIntegerField(default=0, verbose_name="wasted tokens"),
        ),
        migrations.AlterField(
            model_name="auditrecord",
            name="status",
            field=models.PositiveSmallIntegerField(null=True, verbose_name="HTTP status"),
        ),
        *_UNKNOWN_STATUS,
    ]
