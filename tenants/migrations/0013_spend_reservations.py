"""Spend that is reserved for open fine-tuning jobs. Jobs that are open already reserve nothing."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tenants", "0012_request_of_a_change")]

    operations = [
        migrations.CreateModel(
            name="SpendReservation",
            fields=[
                (
                    "source_id",
                    models.CharField(max_length=64, primary_key=True, serialize=False, verbose_name="work"),
                ),
                ("tenant_id", models.UUIDField(verbose_name="tenant id")),
                ("key_id", models.UUIDField(null=True, verbose_name="key id")),
                ("amount_microusd", models.PositiveBigIntegerField(verbose_name="amount")),
            ],
            options={
                "verbose_name": "spend reservation",
                "verbose_name_plural": "spend reservations",
                "ordering": ["tenant_id", "source_id"],
                "indexes": [models.Index(fields=["tenant_id"], name="spend_reservation_tenant")],
            },
        ),
    ]
