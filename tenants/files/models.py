"""Models of uploaded files: metadata in Postgres, contents in Django's default storage."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from backoffice.tenant_rows import TenantRows
from tenants.choices import choices_constraint
from tenants.models import Tenant


class Purpose(models.TextChoices):
    """Purposes of a file in OpenAI's API."""

    FINE_TUNE = "fine-tune", _("fine-tuning")
    FINE_TUNE_RESULTS = "fine-tune-results", _("results of fine-tuning")
    BATCH = "batch", _("batch")
    BATCH_OUTPUT = "batch_output", _("output of a batch")
    USER_DATA = "user_data", _("user data")


class StoredFile(models.Model):
    """A complete file of a tenant. ``storage_name`` is its name in the storage, ``sha256`` its digest in hex.

    ``dataset_report`` is the result of the structural check of a dataset (``training.datasets``).
    """

    id = models.CharField(_("id"), max_length=64, primary_key=True)  # file-…
    tenant = models.ForeignKey(
        Tenant, verbose_name=_("tenant"), db_index=False, on_delete=models.PROTECT, related_name="+"
    )
    filename = models.CharField(_("file name"), max_length=255)
    purpose = models.CharField(_("purpose"), max_length=32, choices=Purpose.choices)
    size_bytes = models.PositiveBigIntegerField(_("size in bytes"))
    sha256 = models.CharField(_("SHA-256"), max_length=64)
    storage_name = models.CharField(_("name in the storage"), max_length=255, unique=True)
    dataset_report = models.JSONField(_("dataset report"), null=True, blank=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)

    objects = TenantRows.as_manager()

    class Meta:
        verbose_name = _("file")
        verbose_name_plural = _("files")
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["tenant", "-created_at", "-id"], name="file_tenant_time"),
            models.Index(fields=["expires_at"], name="file_expiry"),
        ]
        constraints = [choices_constraint("purpose", Purpose, "file_purpose_known")]

    def __str__(self) -> str:
        return f"{self.id} ({self.filename})"


class PendingObject(models.Model):
    """An object in the storage that no file refers to: its upload has not ended, or its file was deleted.

    The row is committed before the object is written and outlives it, so a killed process leaves nothing
    behind that the sweep can't find. ``reserved_bytes`` count towards the tenant's limit. The object is
    deleted once ``alive_until`` has passed by the database's clock; a running upload renews it.
    """

    storage_name = models.CharField(_("name in the storage"), max_length=255, primary_key=True)
    tenant = models.ForeignKey(
        Tenant, verbose_name=_("tenant"), db_index=True, on_delete=models.PROTECT, related_name="+"
    )
    reserved_bytes = models.PositiveBigIntegerField(_("reserved bytes"), default=0)
    alive_until = models.DateTimeField(_("alive until"))

    objects = TenantRows.as_manager()

    class Meta:
        verbose_name = _("pending object")
        verbose_name_plural = _("pending objects")
        ordering = ["alive_until"]
        indexes = [models.Index(fields=["alive_until"], name="pending_object_age")]

    def __str__(self) -> str:
        return self.storage_name
