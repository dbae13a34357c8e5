"""Models of tenants, members, service accounts and API keys. Those of records are in record_models."""

from __future__ import annotations

import uuid

from django.contrib.auth.models import User
from django.contrib.postgres.fields import ArrayField
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from backoffice.tenant_rows import TenantRows
from tenants.choices import KeyPurpose, Role, Scope, Tier, choices_constraint
from tenants.limits.columns import LimitColumns
from tenants.record_models import AdminAudit as AdminAudit
from tenants.record_models import AuditRecord as AuditRecord
from tenants.record_models import RequestRecord as RequestRecord
from tenants.record_models import SpendReservation as SpendReservation
from tenants.record_models import UsageRecord as UsageRecord

SLUG_PATTERN = r"\A[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z"
PREFIX_PATTERN = r"\A[0-9A-Za-z]{12}\Z"


class Tenant(LimitColumns):
    """An organisation or team that owns keys, usage and data."""

    id = models.UUIDField(_("id"), primary_key=True, default=uuid.uuid4, editable=False)
    slug = models.CharField(
        _("short name"),
        max_length=63,
        unique=True,
        help_text=_(
            "Identifies the tenant in commands and logs: lower-case letters, digits and inner hyphens."
        ),
        validators=[
            RegexValidator(SLUG_PATTERN, _("Use lower-case letters, digits and inner hyphens only."))
        ],
    )
    name = models.CharField(_("name"), max_length=200)
    active = models.BooleanField(
        _("active"), default=True, help_text=_("The API rejects the keys of an inactive tenant.")
    )
    tier = models.CharField(
        _("tier"),
        max_length=16,
        choices=Tier.choices,
        default=Tier.STANDARD,
        help_text=_("The highest priority that its requests may have at a busy engine."),
    )
    stored_bytes = models.PositiveBigIntegerField(
        _("stored bytes"),
        null=True,
        blank=True,
        help_text=_("Size of all uploaded files together. If empty, the platform's setting."),
    )
    audit_keep_days = models.PositiveIntegerField(
        _("days to keep audit records"),
        null=True,
        blank=True,
        help_text=_("If empty, the platform's setting."),
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("tenant")
        verbose_name_plural = _("tenants")
        ordering = ["slug"]
        constraints = [
            models.CheckConstraint(condition=Q(slug__regex=SLUG_PATTERN), name="tenant_slug_form"),
            choices_constraint("tier", Tier, "tenant_tier_known"),
        ]

    def __str__(self) -> str:
        return self.slug


class Membership(models.Model):
    """A user's role in a tenant."""

    tenant = models.ForeignKey(
        Tenant,
        verbose_name=_("tenant"),
        db_index=False,
        on_delete=models.CASCADE,
        related_name="memberships",
    )
    user = models.ForeignKey(
        User, verbose_name=_("user"), on_delete=models.CASCADE, related_name="memberships"
    )
    role = models.CharField(_("role"), max_length=16, choices=Role.choices, default=Role.MEMBER)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    objects = TenantRows.as_manager()

    class Meta:
        verbose_name = _("membership")
        verbose_name_plural = _("memberships")
        ordering = ["tenant", "user"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "user"], name="membership_once"),
            choices_constraint("role", Role, "membership_role_known"),
        ]

    def __str__(self) -> str:
        return f"{self.user} @ {self.tenant}: {self.get_role_display()}"


class ServiceAccount(models.Model):
    """A program of a tenant with keys of its own, which stay valid when members leave."""

    id = models.UUIDField(_("id"), primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(
        Tenant,
        verbose_name=_("tenant"),
        db_index=False,
        on_delete=models.PROTECT,
        related_name="service_accounts",
    )
    name = models.CharField(
        _("name"), max_length=100, help_text=_("The program, such as nightly-reports. Unique in its tenant.")
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    objects = TenantRows.as_manager()

    class Meta:
        verbose_name = _("service account")
        verbose_name_plural = _("service accounts")
        ordering = ["tenant", "name"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "name"], name="service_account_name_once"),
        ]

    def __str__(self) -> str:
        return self.name


class ApiKey(LimitColumns):
    """An API key, stored as its public prefix and the hash of its secret.

    It belongs to ``user``, to ``service_account``, or without either to the tenant as a whole.
    """

    id = models.UUIDField(_("id"), primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(
        Tenant, verbose_name=_("tenant"), db_index=False, on_delete=models.PROTECT, related_name="keys"
    )
    name = models.CharField(_("name"), max_length=200)
    prefix = models.CharField(_("prefix"), max_length=12, unique=True, editable=False)
    secret_hash = models.CharField(_("hash of the secret"), max_length=64, editable=False)
    scopes = ArrayField(
        models.CharField(max_length=32, choices=Scope.choices), verbose_name=_("scopes"), default=list
    )
    allowed_networks = ArrayField(
        models.CharField(max_length=43),
        verbose_name=_("allowed networks"),
        default=list,
        blank=True,
        help_text=_("Such as 192.0.2.0/24 or 2001:db8::/32. If empty, every address."),
    )
    user = models.ForeignKey(
        User,
        verbose_name=_("person"),
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="keys",
        help_text=_("The member to whom the key belongs. It is revoked when the member leaves."),
    )
    service_account = models.ForeignKey(
        ServiceAccount,
        verbose_name=_("service account"),
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="keys",
    )
    created_by = models.ForeignKey(
        User,
        verbose_name=_("created by"),
        null=True,
        blank=True,
        editable=False,
        on_delete=models.SET_NULL,
        related_name="+",
    )
    # One-to-one: of two concurrent rotations, the database rejects the second.
    replaces = models.OneToOneField(
        "self",
        verbose_name=_("successor of"),
        null=True,
        blank=True,
        editable=False,
        on_delete=models.PROTECT,
        related_name="replaced_by",
    )
    purpose = models.CharField(
        _("purpose"),
        max_length=16,
        choices=KeyPurpose.choices,
        default=KeyPurpose.PROGRAMS,
        editable=False,
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    expires_at = models.DateTimeField(
        _("valid until"), null=True, blank=True, help_text=_("In UTC. A key without a date never expires.")
    )
    revoked_at = models.DateTimeField(_("revoked"), null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(_("last used"), null=True, blank=True, editable=False)
    last_refused_at = models.DateTimeField(_("last refused"), null=True, blank=True, editable=False)

    objects = TenantRows.as_manager()

    class Meta:
        verbose_name = _("API key")
        verbose_name_plural = _("API keys")
        ordering = ["tenant", "name", "created_at"]
        indexes = [models.Index(fields=["tenant", "created_at"], name="key_tenant_created")]
        constraints = [
            models.CheckConstraint(condition=Q(prefix__regex=PREFIX_PATTERN), name="key_prefix_form"),
            models.CheckConstraint(condition=Q(scopes__contained_by=Scope.values), name="key_scopes_known"),
            models.CheckConstraint(
                condition=Q(user=None) | Q(service_account=None), name="key_of_one_person_or_account"
            ),
            choices_constraint("purpose", KeyPurpose, "key_purpose_known"),
            models.UniqueConstraint(
                fields=["tenant", "created_by"],
                condition=Q(purpose=KeyPurpose.PLAYGROUND.value, revoked_at=None),
                name="key_playground_once",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} (sk-cy-{self.prefix}-…)"

    @property
    def holder_name(self) -> str | None:
        """The name of the person or the service account, None for a key of the tenant as a whole."""
        if self.user is not None:
            return self.user.get_username()
        return self.service_account.name if self.service_account else None
