"""Models of the seals: a chain per tenant and trail, and the position up to which each trail is sealed."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from backoffice.tenant_rows import TenantRows


class Trail(models.TextChoices):
    """The two audit trails."""

    REQUESTS = "requests", _("API requests")
    CHANGES = "changes", _("administrative changes")


class AuditSeal(models.Model):
    """A seal on consecutive records of one tenant. ``tenant_id`` is null for records without a tenant.

    It covers the tenant's records with ids above the previous seal's ``last_id`` up to its own. ``digest`` is
    the HMAC-SHA-256 of these records, ``chain`` that of this seal and the previous one's ``chain``, in hex.
    ``key_id`` identifies the key, not the key itself.
    Of the seals whose records have been purged only the last is kept, as the beginning of the chain.
    """

    trail = models.CharField(_("trail"), max_length=16, choices=Trail.choices)
    tenant_id = models.UUIDField(_("tenant id"), null=True)
    number = models.PositiveBigIntegerField(_("number"))
    last_id = models.BigIntegerField(_("last record"))
    record_count = models.PositiveIntegerField(_("records"))
    newest_at = models.DateTimeField(_("newest record"))
    key_id = models.CharField(_("key"), max_length=16)
    digest = models.CharField(_("digest"), max_length=64)
    chain = models.CharField(_("chain"), max_length=64)
    purged_at = models.DateTimeField(_("purged"), null=True)

    objects = TenantRows.as_manager()

    class Meta:
        verbose_name = _("audit seal")
        verbose_name_plural = _("audit seals")
        ordering = ["trail", "tenant_id", "number"]
        constraints = [
            models.CheckConstraint(condition=models.Q(trail__in=Trail.values), name="seal_trail_known"),
            models.UniqueConstraint(
                fields=["trail", "tenant_id", "number"], nulls_distinct=False, name="seal_number_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.trail} {self.tenant_id or '-'} #{self.number}"


class SealPosition(models.Model):
    """The end of the sealed part of a trail.

    ``seal_count`` counts all seals ever made, so that the removal of the newest ones is noticed. ``mac`` is
    the HMAC of the other columns.
    """

    trail = models.CharField(_("trail"), max_length=16, primary_key=True, choices=Trail.choices)
    last_id = models.BigIntegerField(_("last record"), default=0)
    seal_count = models.PositiveBigIntegerField(_("seals"), default=0)
    key_id = models.CharField(_("key"), max_length=16)
    mac = models.CharField(_("MAC"), max_length=64)

    class Meta:
        verbose_name = _("seal position")
        verbose_name_plural = _("seal positions")
        ordering = ["trail"]
        constraints = [
            models.CheckConstraint(condition=models.Q(trail__in=Trail.values), name="position_trail_known"),
        ]

    def __str__(self) -> str:
        return self.trail


class TrailCheck(models.Model):
    """The last verification of a trail, for pages: ``finding_count`` deviations, and the first of them."""

    trail = models.CharField(_("trail"), max_length=16, primary_key=True, choices=Trail.choices)
    checked_at = models.DateTimeField(_("checked"))
    finding_count = models.PositiveIntegerField(_("deviations"))
    first_finding = models.TextField(_("first deviation"), blank=True)

    class Meta:
        verbose_name = _("check of an audit trail")
        verbose_name_plural = _("checks of audit trails")
        ordering = ["trail"]
        constraints = [
            models.CheckConstraint(condition=models.Q(trail__in=Trail.values), name="check_trail_known"),
        ]

    def __str__(self) -> str:
        return self.trail
