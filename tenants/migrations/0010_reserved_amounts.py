"""The amounts that quotas have reserved, in usage records."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tenants", "0009_service_accounts_and_scopes")]

    operations = [
        migrations.AddField(
            model_name="usagerecord",
            name="reserved_tokens",
            field=models.PositiveBigIntegerField(default=0, verbose_name="reserved tokens"),
        ),
        migrations.AddField(
            model_name="usagerecord",
            name="reserved_microusd",
            field=models.PositiveBigIntegerField(default=0, verbose_name="reserved cost"),
        ),
    ]
