"""Model of stored responses: the response object and its input items."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.utils.translation import gettext_lazy as _

from backoffice.tenant_rows import TenantRows
from tenants.choices import choices_constraint
from tenants.models import Tenant


class ResponseStatus(models.TextChoices):
    """Statuses of a response in the API."""

    QUEUED = "queued", _("queued")
    IN_PROGRESS = "in_progress", _("in progress")
    COMPLETED = "completed", _("completed")
    INCOMPLETE = "incomplete", _("incomplete")
    FAILED = "failed", _("failed")
    CANCELLED = "cancelled", _("cancelled")


MAX_ITEM_ID = 256


def is_item_id(text: str) -> bool:
    """Return whether an item of this id can be found again: others can't be stored in a text column."""
    return text.isascii() and text.isprintable() and len(text) <= MAX_ITEM_ID


OPEN_STATUSES = (ResponseStatus.QUEUED, ResponseStatus.IN_PROGRESS)


class StoredResponse(models.Model):
    """A response that its tenant can retrieve or continue.

    ``body`` and ``input_items`` are ASCII JSON in text columns, because PostgreSQL's JSON types reject some
    characters that a model can generate. ``item_ids``: of all input and output. ``gateway_id`` names the
    gateway process that runs the request.
    """

    id = models.CharField(_("id"), max_length=64, primary_key=True)
    # No foreign-key constraint: it would slow the insert, and a deleted tenant has no keys to read with.
    tenant = models.ForeignKey(
        Tenant,
        verbose_name=_("tenant"),
        db_index=False,
        db_constraint=False,
        on_delete=models.CASCADE,
        related_name="+",
    )
    model = models.CharField(_("model"), max_length=200)
    status = models.CharField(_("status"), max_length=16, choices=ResponseStatus.choices)
    body = models.TextField(_("response"))
    input_items = models.TextField(_("input"))
    item_ids = ArrayField(
        models.CharField(max_length=MAX_ITEM_ID), verbose_name=_("item ids"), default=list, blank=True
    )
    previous_response_id = models.CharField(_("previous response"), max_length=64, blank=True)
    background = models.BooleanField(_("background"), default=False)
    gateway_id = models.CharField(_("gateway"), max_length=128)
    created_at = models.DateTimeField(_("created"))
    expires_at = models.DateTimeField(_("expires"))

    objects = TenantRows.as_manager()

    class Meta:
        verbose_name = _("stored response")
        verbose_name_plural = _("stored responses")
        ordering = ["-created_at"]
        indexes = [
            models.Index(fields=["tenant", "-created_at"], name="response_tenant_time"),
            models.Index(fields=["expires_at"], name="response_expiry"),
            GinIndex(fields=["item_ids"], name="response_items"),
            models.Index(
                fields=["created_at"],
                name="response_open",
                condition=models.Q(status__in=[status.value for status in OPEN_STATUSES]),
            ),
        ]
        constraints = [choices_constraint("status", ResponseStatus, "response_status_known")]

    def __str__(self) -> str:
        return self.id
