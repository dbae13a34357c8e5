"""Training in usage records; the parameter at fault and the requested model in audit records."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tenants", "0007_limits_and_prices")]

    operations = [
        migrations.AddField(
            model_name="usagerecord",
            name="trained_tokens",
            field=models.PositiveBigIntegerField(default=0, verbose_name="trained tokens"),
        ),
        migrations.AddField(
            model_name="usagerecord",
            name="training_price",
            field=models.PositiveBigIntegerField(default=0, verbose_name="price of trained tokens"),
        ),
        migrations.AddField(
            model_name="auditrecord",
            name="requested_model",
            field=models.CharField(blank=True, default="", max_length=200, verbose_name="requested model"),
        ),
        migrations.AddField(
            model_name="auditrecord",
            name="error_param",
            field=models.CharField(blank=True, default="", max_length=200, verbose_name="parameter at fault"),
        ),
    ]
