"""Limits of tenants and keys: the columns that both have, and their values."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils.translation import gettext_lazy as _


@dataclass(frozen=True, slots=True)
class UsageLimits:
    """Limits of a tenant or a key; None doesn't limit.

    Spend in micro-dollars per day or month in UTC. ``allowed_models``: names of models; empty allows all.
    """

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None
    spend_per_day_microusd: int | None = None
    spend_per_month_microusd: int | None = None
    allowed_models: frozenset[str] = frozenset()


NO_LIMITS = UsageLimits()


class LimitColumns(models.Model):
    """The columns of ``UsageLimits``. An empty column doesn't limit."""

    requests_per_minute = models.PositiveIntegerField(_("requests per minute"), null=True, blank=True)
    tokens_per_minute = models.PositiveIntegerField(_("tokens per minute"), null=True, blank=True)
    concurrent_requests = models.PositiveIntegerField(_("concurrent requests"), null=True, blank=True)
    spend_per_day_microusd = models.PositiveBigIntegerField(
        _("spend per day"), null=True, blank=True, help_text=_("In micro-dollars, per day in UTC.")
    )
    spend_per_month_microusd = models.PositiveBigIntegerField(
        _("spend per month"), null=True, blank=True, help_text=_("In micro-dollars, per month in UTC.")
    )
    allowed_models = ArrayField(
        models.CharField(max_length=200),
        verbose_name=_("allowed models"),
        default=list,
        blank=True,
        help_text=_("If empty, every model that the tenant may use."),
    )

    class Meta:
        abstract = True

    def limits(self) -> UsageLimits:
        """Return the values."""
        return UsageLimits(
            requests_per_minute=self.requests_per_minute,
            tokens_per_minute=self.tokens_per_minute,
            concurrent_requests=self.concurrent_requests,
            spend_per_day_microusd=self.spend_per_day_microusd,
            spend_per_month_microusd=self.spend_per_month_microusd,
            allowed_models=frozenset(self.allowed_models),
        )
