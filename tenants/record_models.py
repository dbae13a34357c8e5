"""Models of the usage, audit and administrative records."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from backoffice.tenant_rows import TenantRows
from tenants.choices import MeterSource, RecordOutcome, RecordState, choices_constraint


class OwnerColumns(models.Model):
    """The tenant and the key of a record.

    Without foreign-key constraints: records outlive tenants and keys, and one wrong id must not fail a batch.
    """

    tenant = models.ForeignKey(
        "tenants.Tenant",
        verbose_name=_("tenant"),
        null=True,
        db_index=False,
        db_constraint=False,
        on_delete=models.DO_NOTHING,
        related_name="+",
    )
    key = models.ForeignKey(
        "tenants.ApiKey",
        verbose_name=_("API key"),
        null=True,
        db_index=False,
        db_constraint=False,
        on_delete=models.DO_NOTHING,
        related_name="+",
    )

    class Meta:
        abstract = True


class RequestRecord(OwnerColumns):
    """Columns shared by the usage and the audit record of one API request."""

    request_id = models.CharField(_("request id"), max_length=64, unique=True)
    correlation_id = models.CharField(_("correlation id"), max_length=200)
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
    ``wasted_tokens`` counts what attempts read and wrote without being charged. ``*_price`` are the model's
    prices at admission in micro-dollars per million tokens, ``cost_microusd`` what the tokens cost at them.
    ``reserved_*`` are the most that it could use, as its quotas reserved at admission.
    An attempt of a fine-tuning job has a record as well, with ``trained_tokens`` instead of the other counts.
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
    is_charged = models.BooleanField(_("charged"), default=True)
    prompt_price = models.PositiveBigIntegerField(_("price of prompt tokens"), default=0)
    cached_price = models.PositiveBigIntegerField(_("price of cached tokens"), default=0)
    completion_price = models.PositiveBigIntegerField(_("price of completion tokens"), default=0)
    trained_tokens = models.PositiveBigIntegerField(_("trained tokens"), default=0)
    training_price = models.PositiveBigIntegerField(_("price of trained tokens"), default=0)
    cost_microusd = models.PositiveBigIntegerField(_("cost"), default=0)
    reserved_tokens = models.PositiveBigIntegerField(_("reserved tokens"), default=0)
    reserved_microusd = models.PositiveBigIntegerField(_("reserved cost"), default=0)
    wasted_tokens = models.PositiveIntegerField(_("wasted tokens"), default=0)
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

    objects = TenantRows.as_manager()

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
    """One API request, refused requests included; never its content and never a secret.

    ``error_param`` is the path of the parameter at fault, without names that the client chose, or of the
    limit. ``requested_model`` is the client's name of the model, which may be an alias or unknown.
    """

    key_prefix = models.CharField(_("key prefix"), max_length=12)
    client_ip = models.GenericIPAddressField(_("client address"), null=True)
    method = models.CharField(_("method"), max_length=16)
    requested_model = models.CharField(_("requested model"), max_length=200, blank=True, default="")
    error_param = models.CharField(_("parameter at fault"), max_length=200, blank=True, default="")
    status = models.PositiveSmallIntegerField(_("HTTP status"), null=True)
    duration_s = models.FloatField(_("duration (s)"))
    at = models.DateTimeField(_("time"))

    objects = TenantRows.as_manager()

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
    """An administrative change: actor, action and differences. A database trigger keeps it append-only.

    ``request_id``: the HTTP request or command that made it; empty for periodic tasks.
    """

    at = models.DateTimeField(_("time"), default=timezone.now, editable=False)
    actor = models.CharField(_("actor"), max_length=200)
    action = models.CharField(_("action"), max_length=64)
    object_id = models.CharField(_("object id"), max_length=64)
    object_name = models.CharField(_("object"), max_length=250)
    tenant_id = models.UUIDField(_("tenant id"), null=True)
    before = models.JSONField(_("before"), null=True)
    after = models.JSONField(_("after"), null=True)
    # The database default serves processes of the previous version, until they are restarted.
    request_id = models.CharField(_("request id"), max_length=64, blank=True, default="", db_default="")

    objects = TenantRows.as_manager()

    class Meta:
        verbose_name = _("administrative change")
        verbose_name_plural = _("administrative changes")
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["tenant_id", "-at"], name="admin_audit_tenant_time"),
            models.Index(fields=["object_id", "-at"], name="admin_audit_object_time"),
            models.Index(fields=["request_id"], name="admin_audit_request", condition=~Q(request_id="")),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.object_name}"


class SpendReservation(models.Model):
    """Spend that work without a gateway may still cause, in micro-dollars; ``source_id`` is the job's id."""

    source_id = models.CharField(_("work"), max_length=64, primary_key=True)
    tenant_id = models.UUIDField(_("tenant id"))
    key_id = models.UUIDField(_("key id"), null=True)
    amount_microusd = models.PositiveBigIntegerField(_("amount"))

    objects = TenantRows.as_manager()

    class Meta:
        verbose_name = _("spend reservation")
        verbose_name_plural = _("spend reservations")
        ordering = ["tenant_id", "source_id"]
        indexes = [models.Index(fields=["tenant_id"], name="spend_reservation_tenant")]

    def __str__(self) -> str:
        return self.source_id
