"""Usage sums and counts of refusals."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("tenants", "0008_training_usage_and_faults"),
    ]

    operations = [
        migrations.CreateModel(
            name="RefusalCount",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("fact_id", models.CharField(max_length=64, unique=True, verbose_name="id")),
                ("minute_at", models.DateTimeField(verbose_name="minute")),
                ("gateway_id", models.CharField(max_length=128, verbose_name="gateway")),
                ("key_prefix", models.CharField(blank=True, max_length=12, verbose_name="key prefix")),
                (
                    "client_network",
                    models.CharField(blank=True, max_length=43, verbose_name="client network"),
                ),
                ("endpoint", models.CharField(max_length=200, verbose_name="endpoint")),
                ("error_code", models.CharField(max_length=100, verbose_name="error code")),
                ("status", models.PositiveSmallIntegerField(verbose_name="HTTP status")),
                ("requests", models.PositiveBigIntegerField(verbose_name="requests")),
                (
                    "key",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="tenants.apikey",
                        verbose_name="API key",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="tenants.tenant",
                        verbose_name="tenant",
                    ),
                ),
            ],
            options={
                "verbose_name": "count of refusals",
                "verbose_name_plural": "counts of refusals",
                "ordering": ["-minute_at", "-id"],
                "indexes": [
                    models.Index(fields=["tenant", "-minute_at"], name="refusal_tenant_time"),
                    models.Index(fields=["-minute_at"], name="refusal_time"),
                ],
            },
        ),
        migrations.CreateModel(
            name="UsageRollup",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("bucket_at", models.DateTimeField(verbose_name="begins")),
                ("model", models.CharField(max_length=200, verbose_name="model")),
                ("endpoint", models.CharField(max_length=200, verbose_name="endpoint")),
                ("requests", models.BigIntegerField(verbose_name="requests")),
                ("completed", models.BigIntegerField(verbose_name="completed")),
                ("cancelled", models.BigIntegerField(verbose_name="cancelled")),
                ("failed", models.BigIntegerField(verbose_name="failed")),
                ("refused", models.BigIntegerField(verbose_name="refused")),
                ("lost", models.BigIntegerField(verbose_name="lost")),
                ("prompt_tokens", models.BigIntegerField(verbose_name="prompt tokens")),
                ("cached_tokens", models.BigIntegerField(verbose_name="cached tokens")),
                ("completion_tokens", models.BigIntegerField(verbose_name="completion tokens")),
                ("trained_tokens", models.BigIntegerField(verbose_name="trained tokens")),
                ("wasted_tokens", models.BigIntegerField(verbose_name="wasted tokens")),
                ("cost_microusd", models.BigIntegerField(verbose_name="cost")),
                ("queue_us", models.BigIntegerField(verbose_name="queue (µs)")),
                ("queue_count", models.BigIntegerField(verbose_name="requests with queue time")),
                ("first_token_us", models.BigIntegerField(verbose_name="first token (µs)")),
                ("first_token_count", models.BigIntegerField(verbose_name="requests with first token")),
                ("total_us", models.BigIntegerField(verbose_name="total (µs)")),
                ("total_count", models.BigIntegerField(verbose_name="requests with total time")),
                (
                    "key",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="tenants.apikey",
                        verbose_name="API key",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="tenants.tenant",
                        verbose_name="tenant",
                    ),
                ),
            ],
            options={
                "verbose_name": "usage sum",
                "verbose_name_plural": "usage sums",
                "ordering": ["bucket_at", "id"],
                "indexes": [
                    models.Index(fields=["tenant", "bucket_at"], name="rollup_tenant_time"),
                    models.Index(fields=["key", "bucket_at"], name="rollup_key_time"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("bucket_at", "tenant", "key", "model", "endpoint"),
                        name="rollup_once",
                        nulls_distinct=False,
                    )
                ],
            },
        ),
    ]
