"""What is kept of responses: the object, and the items that they were made of."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from tenants.models import Tenant, stored_in


class ResponseStatus(models.TextChoices):
    """The API's words."""

    QUEUED = "queued", _("queued")
    IN_PROGRESS = "in_progress", _("in progress")
    COMPLETED = "completed", _("completed")
    INCOMPLETE = "incomplete", _("incomplete")
    FAILED = "failed", _("failed")
    CANCELLED = "cancelled", _("cancelled")


OPEN_STATUSES = (ResponseStatus.QUEUED, ResponseStatus.IN_PROGRESS)


class StoredResponse(models.Model):
    """A response as its tenant may ask for it again.

    ``body`` and ``input_items`` are JSON texts in ASCII: PostgreSQL's own JSON can't hold every character
    that a model may write. ``gateway_id`` is that of the process that makes it.
    """

    id = models.CharField(_("id"), max_length=64, primary_key=True)
    # Keys of a tenant that is gone find nothing; no check in the way of a request.
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
    previous_response_id = models.CharField(_("previous response"), max_length=64, blank=True)
    background = models.BooleanField(_("in the background"), default=False)
    gateway_id = models.CharField(_("gateway"), max_length=128)
    created_at = models.DateTimeField(_("created"))
    expires_at = models.DateTimeField(_("kept until"))

    class Meta:
        verbose_name = _("stored response")
        verbose_name_plural = _("stored responses")
        ordering = ["-created_at"]
        indexes = [
            models.Index(fields=["tenant", "-created_at"], name="response_tenant_time"),
            models.Index(fields=["expires_at"], name="response_expiry"),
            models.Index(
                fields=["created_at"],
                name="response_open",
                condition=models.Q(status__in=[status.value for status in OPEN_STATUSES]),
            ),
        ]
        constraints = [stored_in("status", ResponseStatus, "response_status_known")]

    def __str__(self) -> str:
        return self.id
