"""Models of tenants, members and API keys, and of the usage, audit and administrative records."""

from __future__ import annotations

import uuid

from django.contrib.auth.models import User
from django.contrib.postgres.fields import ArrayField
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from tenants.choices import MeterSource, RecordOutcome, RecordState, Role, Scope

SLUG_PATTERN = r"\A[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z"
PREFIX_PATTERN = r"\A[0-9A-Za-z]{12}\Z"


def choices_constraint(field: str, choices: type[models.TextChoices], name: str) -> models.CheckConstraint:
    """Return the database constraint that ``field`` holds one of ``choices``."""
    return models.CheckConstraint(condition=Q(**{f"{field}__in": choices.values}), name=name)


class Tenant(models.Model):
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
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("tenant")
        verbose_name_plural = _("tenants")
        ordering = ["slug"]
        constraints = [
            models.CheckConstraint(condition=Q(slug__regex=SLUG_PATTERN), name="tenant_slug_form"),
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

    class Meta:
        verbose_name = _("membership")
        verbose_name_plural = _("memberships")
        ordering = ["tenant", "user"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "user"], name="membership_once"),
            choices_constraint("role", Role, "membership_role_known"),
        ]

    def __str__(self) -> str:
        return f"{self.user} @ {self.tenant}: {self.role}"


class ApiKey(models.Model):
    """An API key, stored as its public prefix and the hash of its secret."""

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
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    expires_at = models.DateTimeField(
        _("valid until"), null=True, blank=True, help_text=_("In UTC. A key without a date never expires.")
    )
    revoked_at = models.DateTimeField(_("revoked"), null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(_("last used"), null=True, blank=True, editable=False)

    class Meta:
        verbose_name = _("API key")
        verbose_name_plural = _("API keys")
        ordering = ["tenant", "name", "created_at"]
        indexes = [models.Index(fields=["tenant", "created_at"], name="key_tenant_created")]
        constraints = [
            models.CheckConstraint(condition=Q(prefix__regex=PREFIX_PATTERN), name="key_prefix_form"),
            models.CheckConstraint(condition=Q(scopes__contained_by=Scope.values), name="key_scopes_known"),
        ]

    def __str__(self) -> str:
        return f"{self.name} (sk-cy-{self.prefix}-…)"


class RequestRecord(models.Model):
    """Columns shared by the usage and the audit record of one API request."""

    request_id = models.CharField(_("request id"), max_length=64, unique=True)
    correlation_id = models.CharField(_("correlation id"), max_length=200)
    # No foreign-key constraints: records outlive tenants and keys, and one wrong id must not fail a batch.
    tenant = models.ForeignKey(
        Tenant,
        verbose_name=_("tenant"),
        null=True,
        db_index=False,
        db_constraint=False,
        on_delete=models.DO_NOTHING,
        related_name="+",
    )
    key = models.ForeignKey(
        ApiKey,
        verbose_name=_("API key"),
        null=True,
        db_index=False,
        db_constraint=False,
        on_delete=models.DO_NOTHING,
        related_name="+",
    )
    endpoint = models.CharField(_("endpoint"), max_length=200)
    model = models.CharField(_("model"), max_length=200)
    outcome = models.CharField(_("outcome"), max_length=16, choices=RecordOutcome.choices)
    error_code = models.CharField(_("error code"), max_length=100)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.request_id


class UsageRecord(RequestRecord):
    """Tokens and timings of one admitted request; only the ledger writes it.

    Tokens are counts, times seconds. ``first_token_s`` and ``total_s`` are measured at the gateway;
    ``queue_s`` and ``engine_*`` come from the worker. ``attempts`` maps the number of every attempt to its
    worker's meter, and the other columns repeat the meter of ``metered_attempt``.
    """

    gateway_id = models.CharField(_("gateway"), max_length=128)
    worker_id = models.CharField(_("worker"), max_length=128)
    streamed = models.BooleanField(_("streamed"), default=False)
    state = models.CharField(_("state"), max_length=16, choices=RecordState.choices)
    status = models.PositiveSmallIntegerField(_("HTTP status"), null=True)
    attempt = models.PositiveSmallIntegerField(_("last attempt"), null=True)
    metered_attempt = models.PositiveSmallIntegerField(_("metered attempt"), null=True)
    meter_source = models.CharField(_("counted by"), max_length=16, choices=MeterSource.choices)
    prompt_tokens = models.PositiveIntegerField(_("prompt tokens"), default=0)
    completion_tokens = models.PositiveIntegerField(_("completion tokens"), default=0)
    cached_tokens = models.PositiveIntegerField(_("cached tokens"), default=0)
    queue_s = models.FloatField(_("queue (s)"), null=True)
    first_token_s = models.FloatField(_("first token (s)"), null=True)
    engine_first_token_s = models.FloatField(_("first token at the engine (s)"), null=True)
    engine_total_s = models.FloatField(_("total at the engine (s)"), null=True)
    total_s = models.FloatField(_("total (s)"), null=True)
    attempts = models.JSONField(_("attempts"), default=dict)
    started_at = models.DateTimeField(_("started"))
    ended_at = models.DateTimeField(_("ended"), null=True)
    settled_at = models.DateTimeField(_("settled"), null=True)
    updated_at = models.DateTimeField(_("last update"))

    class Meta:
        verbose_name = _("usage record")
        verbose_name_plural = _("usage records")
        ordering = ["-started_at"]
        indexes = [
            models.Index(fields=["tenant", "-started_at"], name="usage_tenant_time"),
            models.Index(fields=["key", "-started_at"], name="usage_key_time"),
            models.Index(fields=["-started_at"], name="usage_time"),
            models.Index(fields=["updated_at"], name="usage_open", condition=Q(state=RecordState.OPEN.value)),
        ]
        constraints = [
            choices_constraint("state", RecordState, "usage_state_known"),
            choices_constraint("outcome", RecordOutcome, "usage_outcome_known"),
            choices_constraint("meter_source", MeterSource, "usage_meter_source_known"),
            models.CheckConstraint(
                condition=Q(state=RecordState.OPEN.value, settled_at=None)
                | Q(state=RecordState.SETTLED.value, settled_at__isnull=False),
                name="usage_settled_has_time",
            ),
        ]

    @property
    def tokens_per_s(self) -> float | None:
        """Tokens per second at the engine after the first token; None if unknown."""
        if self.engine_total_s is None or self.engine_first_token_s is None or self.completion_tokens < 2:
            return None
        elapsed_s = self.engine_total_s - self.engine_first_token_s
        return (self.completion_tokens - 1) / elapsed_s if elapsed_s > 0 else None


class AuditRecord(RequestRecord):
    """One API request, refused requests included; never its content and never a secret."""

    key_prefix = models.CharField(_("key prefix"), max_length=12)
    client_ip = models.GenericIPAddressField(_("client address"), null=True)
    method = models.CharField(_("method"), max_length=16)
    status = models.PositiveSmallIntegerField(_("HTTP status"))
    duration_s = models.FloatField(_("duration (s)"))
    at = models.DateTimeField(_("time"))

    class Meta:
        verbose_name = _("audit record")
        verbose_name_plural = _("audit records")
        ordering = ["-at"]
        indexes = [
            models.Index(fields=["tenant", "-at"], name="audit_tenant_time"),
            models.Index(fields=["at"], name="audit_time"),
            models.Index(fields=["correlation_id"], name="audit_correlation"),
        ]
        constraints = [choices_constraint("outcome", RecordOutcome, "audit_outcome_known")]


class AdminAudit(models.Model):
    """An administrative change: actor, action and differences. A database trigger keeps it append-only."""

    at = models.DateTimeField(_("time"), default=timezone.now, editable=False)
    actor = models.CharField(_("actor"), max_length=200)
    action = models.CharField(_("action"), max_length=64)
    object_id = models.CharField(_("object id"), max_length=64)
    object_name = models.CharField(_("object"), max_length=250)
    tenant_id = models.UUIDField(_("tenant id"), null=True)
    before = models.JSONField(_("before"), null=True)
    after = models.JSONField(_("after"), null=True)

    class Meta:
        verbose_name = _("administrative change")
        verbose_name_plural = _("administrative changes")
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["tenant_id", "-at"], name="admin_audit_tenant_time"),
            models.Index(fields=["object_id", "-at"], name="admin_audit_object_time"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.object_name}"
