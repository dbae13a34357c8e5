"""Served models, their aliases, and the grants of restricted models to tenants."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

NAME_PATTERN = r"\A[A-Za-z0-9._:/-]{1,200}\Z"
LONGEST_CONTEXT = 100_000_000

name_form = RegexValidator(NAME_PATTERN, _("1 to 200 letters, digits and the characters . _ : / - only."))


class Visibility(models.TextChoices):
    """The tenants that may see and use a model."""

    PUBLIC = "public", _("every tenant")
    RESTRICTED = "restricted", _("tenants with a grant")


class ServedModel(models.Model):
    """A model under its name in requests."""

    name = models.CharField(_("name"), max_length=200, unique=True, validators=[name_form])
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
    alias = models.CharField(_("alias"), max_length=200, unique=True, validators=[name_form])

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

    class Meta:
        verbose_name = _("grant")
        verbose_name_plural = _("grants")
        ordering = ["model", "tenant_id"]
        constraints = [
            models.UniqueConstraint(fields=["model", "tenant_id"], name="model_grant_once"),
        ]

    def __str__(self) -> str:
        return f"{self.model}: {self.tenant_id}"
