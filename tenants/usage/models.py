"""Models of usage sums by quarter of an hour, and of refused requests that are counted but not recorded."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from backoffice.tenant_rows import TenantRows
from tenants.record_models import OwnerColumns


class UsageRollup(OwnerColumns):
    """Sums of usage records by tenant, key, model, endpoint and the quarter of an hour in which they started.

    Triggers on usage records maintain it, so it changes with them in the same statement. Quarters of an hour
    in UTC begin the days and hours of all time zones, those at +5:30 and +5:45 included. Sums of times are
    whole microseconds, which add up exactly; ``*_count`` is the number of records that have the time.
    """

    bucket_at = models.DateTimeField(_("begins"))
    model = models.CharField(_("model"), max_length=200)
    endpoint = models.CharField(_("endpoint"), max_length=200)
    requests = models.BigIntegerField(_("requests"))
    completed = models.BigIntegerField(_("completed"))
    cancelled = models.BigIntegerField(_("cancelled"))
    failed = models.BigIntegerField(_("failed"))
    refused = models.BigIntegerField(_("refused"))
    lost = models.BigIntegerField(_("lost"))
    prompt_tokens = models.BigIntegerField(_("prompt tokens"))
    cached_tokens = models.BigIntegerField(_("cached tokens"))
    completion_tokens = models.BigIntegerField(_("completion tokens"))
    trained_tokens = models.BigIntegerField(_("trained tokens"))
    wasted_tokens = models.BigIntegerField(_("wasted tokens"))
    cost_microusd = models.BigIntegerField(_("cost"))
    queue_us = models.BigIntegerField(_("queue (µs)"))
    queue_count = models.BigIntegerField(_("requests with queue time"))
    first_token_us = models.BigIntegerField(_("first token (µs)"))
    first_token_count = models.BigIntegerField(_("requests with first token"))
    total_us = models.BigIntegerField(_("total (µs)"))
    total_count = models.BigIntegerField(_("requests with total time"))

    objects = TenantRows.as_manager()

    class Meta:
        verbose_name = _("usage sum")
        verbose_name_plural = _("usage sums")
        ordering = ["bucket_at", "id"]
        indexes = [
            models.Index(fields=["tenant", "bucket_at"], name="rollup_tenant_time"),
            models.Index(fields=["key", "bucket_at"], name="rollup_key_time"),
        ]
        constraints = [
            # The time first: this index also serves sums over all tenants.
            models.UniqueConstraint(
                fields=["bucket_at", "tenant", "key", "model", "endpoint"],
                nulls_distinct=False,
                name="rollup_once",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.bucket_at:%Y-%m-%d %H:%M} {self.model}"


class RefusalCount(OwnerColumns):
    """Requests that one gateway refused alike in one minute, beyond those with an audit record of their own.

    ``key_prefix`` is empty if no such key exists. ``client_network``: /24 of IPv4, /48 of IPv6; empty if
    there were too many. ``fact_id`` makes storing the fact again harmless.
    """

    fact_id = models.CharField(_("id"), max_length=64, unique=True)
    minute_at = models.DateTimeField(_("minute"))
    gateway_id = models.CharField(_("gateway"), max_length=128)
    key_prefix = models.CharField(_("key prefix"), max_length=12, blank=True)
    client_network = models.CharField(_("client network"), max_length=43, blank=True)
    endpoint = models.CharField(_("endpoint"), max_length=200)
    error_code = models.CharField(_("error code"), max_length=100)
    status = models.PositiveSmallIntegerField(_("HTTP status"))
    requests = models.PositiveBigIntegerField(_("requests"))

    objects = TenantRows.as_manager()

    class Meta:
        verbose_name = _("count of refusals")
        verbose_name_plural = _("counts of refusals")
        ordering = ["-minute_at", "-id"]
        indexes = [
            models.Index(fields=["tenant", "-minute_at"], name="refusal_tenant_time"),
            models.Index(fields=["-minute_at"], name="refusal_time"),
        ]

    def __str__(self) -> str:
        return f"{self.minute_at:%Y-%m-%d %H:%M} {self.error_code}"
