"""Served models, their aliases and adapters, and the grants of restricted models to tenants."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from backoffice.tenant_rows import TenantRows

NAME_PATTERN = r"\A[A-Za-z0-9._:/-]{1,200}\Z"
DIGEST_PATTERN = r"\A[0-9a-f]{64}\Z"
LONGEST_CONTEXT = 100_000_000

validate_model_name = RegexValidator(
    NAME_PATTERN, _("1 to 200 letters, digits and the characters . _ : / - only.")
)


class Visibility(models.TextChoices):
    """The tenants that may see and use a model."""

    PUBLIC = "public", _("every tenant")
    RESTRICTED = "restricted", _("tenants with a grant")


class ServedModel(models.Model):
    """A model under its name in requests."""

    name = models.CharField(_("name"), max_length=200, unique=True, validators=[validate_model_name])
    source = models.CharField(
        _("source"),
        max_length=500,
        blank=True,
        help_text=_(
            "A folder or a name on a model hub, for information only: workers have their own settings."
        ),
    )
    max_model_len = models.PositiveIntegerField(
        _("context length"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(LONGEST_CONTEXT)],
        help_text=_("In tokens. If empty, the context length that the workers report."),
    )
    owned_by = models.CharField(
        _("owned by"), max_length=200, default="cy-llm", help_text=_("Shown in the API's list of models.")
    )
    enabled = models.BooleanField(
        _("enabled"), default=True, help_text=_("Requests for a disabled model fail as if it did not exist.")
    )
    visibility = models.CharField(
        _("visible to"), max_length=16, choices=Visibility.choices, default=Visibility.PUBLIC
    )
    prompt_price = models.PositiveBigIntegerField(
        _("price of prompt tokens"), default=0, help_text=_("In micro-dollars per million tokens.")
    )
    cached_price = models.PositiveBigIntegerField(
        _("price of cached tokens"),
        null=True,
        blank=True,
        help_text=_("Of prompt tokens from the prefix cache. If empty, the price of prompt tokens."),
    )
    completion_price = models.PositiveBigIntegerField(
        _("price of completion tokens"), default=0, help_text=_("In micro-dollars per million tokens.")
    )
    training_price = models.PositiveBigIntegerField(
        _("price of training tokens"),
        default=0,
        help_text=_("In micro-dollars per million tokens that a fine-tuning job of this model trains on."),
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("changed"), auto_now=True)

    class Meta:
        verbose_name = _("model")
        verbose_name_plural = _("models")
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(condition=Q(name__regex=NAME_PATTERN), name="model_name_form"),
            models.CheckConstraint(
                condition=Q(visibility__in=Visibility.values), name="model_visibility_known"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class ModelAlias(models.Model):
    """Another name of a model. The services ensure, under a lock, that no model has it as its name."""

    model = models.ForeignKey(
        ServedModel, verbose_name=_("model"), on_delete=models.CASCADE, related_name="aliases"
    )
    alias = models.CharField(_("alias"), max_length=200, unique=True, validators=[validate_model_name])

    class Meta:
        verbose_name = _("alias")
        verbose_name_plural = _("aliases")
        ordering = ["alias"]
        constraints = [
            models.CheckConstraint(condition=Q(alias__regex=NAME_PATTERN), name="alias_form"),
        ]

    def __str__(self) -> str:
        return self.alias


class ModelGrant(models.Model):
    """A tenant that may use a restricted model. Tenants are in another package, so only the id is stored."""

    model = models.ForeignKey(
        ServedModel, verbose_name=_("model"), on_delete=models.CASCADE, related_name="grants"
    )
    tenant_id = models.UUIDField(_("tenant id"))
    created_at = models.DateTimeField(_("granted"), default=timezone.now, editable=False)

    objects = TenantRows.as_manager()

    class Meta:
        verbose_name = _("grant")
        verbose_name_plural = _("grants")
        ordering = ["model", "tenant_id"]
        constraints = [
            models.UniqueConstraint(fields=["model", "tenant_id"], name="model_grant_once"),
        ]

    def __str__(self) -> str:
        return f"{self.model}: {self.tenant_id}"


class Adapter(models.Model):
    """The weights of a served model that is a LoRA adapter of another. ``sha256``: digest of its archive."""

    model = models.OneToOneField(
        ServedModel,
        verbose_name=_("model"),
        primary_key=True,
        on_delete=models.CASCADE,
        related_name="adapter",
    )
    base = models.ForeignKey(
        ServedModel, verbose_name=_("base model"), on_delete=models.PROTECT, related_name="adapters"
    )
    sha256 = models.CharField(_("SHA-256 of the archive"), max_length=64, db_index=True)
    rank = models.PositiveSmallIntegerField(_("rank"), validators=[MinValueValidator(1)])
    size_bytes = models.PositiveBigIntegerField(_("size in bytes"))
    tenant_id = models.UUIDField(_("tenant id"), help_text=_("The tenant that may delete it."))
    job_id = models.CharField(_("fine-tuning job"), max_length=64, blank=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    objects = TenantRows.as_manager()

    class Meta:
        verbose_name = _("adapter")
        verbose_name_plural = _("adapters")
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(condition=Q(sha256__regex=DIGEST_PATTERN), name="adapter_digest_form"),
            models.CheckConstraint(condition=Q(rank__gte=1), name="adapter_rank_positive"),
        ]

    def __str__(self) -> str:
        return self.model.name
