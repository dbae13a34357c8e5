"""Models of fine-tuning jobs and of the policies of tenants. Those of job records are in record_models."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from backoffice.tenant_rows import TenantRows
from tenants.choices import choices_constraint
from tenants.models import Tenant
from training.choices import END_STATUSES, JobPhase, JobStatus, Method, RequestedAction
from training.record_models import JobAttempt as JobAttempt
from training.record_models import JobCheckpoint as JobCheckpoint
from training.record_models import JobEvent as JobEvent
from training.record_models import JobSampleLines as JobSampleLines
from training.requests.job_request import DEFAULT_PRIORITY, DEFAULT_WORKER_CLASS


class FineTuningJob(models.Model):
    """A fine-tuning job, which is its own entry in the queue.

    ``hyperparameters``: ``n_epochs``, ``batch_size``, ``learning_rate_multiplier`` and, for DPO, ``beta``, as
    requested ("auto" allowed). ``options``: ``training.engine.spec.TrainingOptions`` as JSON, plus
    ``learning_rate`` and ``publish`` if set. ``report``: dataset report of the training file.
    ``source_checkpoint``: the checkpoint that the job publishes instead of training; its settings are then
    those of the checkpoint's job. ``resolved``: hyperparameters in effect, without "auto". ``next_event``:
    number of the job's next event. ``worker_class``: the queue whose workers may claim it. ``claimed_at``:
    time of its latest claim. ``training_price``: of its base model when it was created, in micro-dollars per
    million trained tokens.
    ``tokens_per_s``: the latest speed of its training. ``forgiven_attempts``: faults of this many attempts
    don't count any more, because a user has resumed the job after its failure.

    The validation of its files is leased: ``validation_token`` fences the writes of the process that has
    claimed it, until ``validation_until`` by the database's clock. ``validation_claimed_at``: its latest
    claim.
    """

    id = models.CharField(_("id"), max_length=64, primary_key=True)  # ftjob-…
    tenant = models.ForeignKey(
        Tenant, verbose_name=_("tenant"), db_index=False, on_delete=models.PROTECT, related_name="+"
    )
    created_by = models.CharField(_("created by"), max_length=200)
    correlation_id = models.CharField(_("correlation id"), max_length=200, blank=True)
    source_checkpoint = models.ForeignKey(
        "training.JobCheckpoint",
        verbose_name=_("checkpoint to publish"),
        null=True,
        blank=True,
        editable=False,
        on_delete=models.CASCADE,
        related_name="publications",
    )
    base_model = models.CharField(_("base model"), max_length=200)
    suffix = models.CharField(_("suffix"), max_length=64, blank=True)
    method = models.CharField(_("method"), max_length=16, choices=Method.choices)
    hyperparameters = models.JSONField(_("hyperparameters"), default=dict)
    resolved = models.JSONField(_("hyperparameters in effect"), default=dict, blank=True)
    options = models.JSONField(_("options"), default=dict)
    seed = models.PositiveIntegerField(_("seed"))
    metadata = models.JSONField(_("metadata"), default=dict, blank=True)
    training_file = models.CharField(_("training file"), max_length=64)
    validation_file = models.CharField(_("validation file"), max_length=64, blank=True)
    status = models.CharField(_("status"), max_length=32, choices=JobStatus.choices)
    phase = models.CharField(
        _("phase"), max_length=32, choices=JobPhase.choices, default=JobPhase.NONE, blank=True
    )
    requested_action = models.CharField(
        _("requested action"),
        max_length=16,
        choices=RequestedAction.choices,
        default=RequestedAction.NONE,
        blank=True,
    )
    priority = models.PositiveSmallIntegerField(
        _("priority"), default=DEFAULT_PRIORITY, help_text=_("0 to 9; jobs of a higher priority run first.")
    )
    worker_class = models.CharField(_("worker class"), max_length=64, default=DEFAULT_WORKER_CLASS)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    queued_at = models.DateTimeField(_("queued"), null=True, blank=True)
    not_before = models.DateTimeField(_("not before"), null=True, blank=True)
    claimed_at = models.DateTimeField(_("claimed"), null=True, blank=True)
    started_at = models.DateTimeField(_("started"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)
    estimated_finish = models.DateTimeField(_("estimated finish"), null=True, blank=True)
    attempt_count = models.PositiveSmallIntegerField(_("attempts"), default=0)
    forgiven_attempts = models.PositiveSmallIntegerField(
        _("attempts before the job was resumed"), default=0, editable=False
    )
    step = models.PositiveIntegerField(_("step"), default=0)
    total_steps = models.PositiveIntegerField(_("steps"), null=True, blank=True)
    trained_tokens = models.PositiveBigIntegerField(_("trained tokens"), null=True, blank=True)
    training_price = models.PositiveBigIntegerField(_("price of trained tokens"), default=0, editable=False)
    tokens_per_s = models.FloatField(_("tokens per second"), null=True, blank=True)
    report = models.JSONField(_("dataset report"), null=True, blank=True)
    result = models.JSONField(_("result"), null=True, blank=True)
    fine_tuned_model = models.CharField(_("fine-tuned model"), max_length=200, blank=True)
    artifact_sha256 = models.CharField(_("SHA-256 of the artifact"), max_length=64, blank=True)
    error_code = models.CharField(_("error code"), max_length=100, blank=True)
    error_message = models.TextField(_("error"), blank=True)
    error_param = models.CharField(_("parameter at fault"), max_length=200, blank=True)
    next_event = models.PositiveIntegerField(_("next event"), default=1)
    validation_token = models.UUIDField(_("token of the validation"), null=True, blank=True, editable=False)
    validation_until = models.DateTimeField(
        _("lease of the validation until"), null=True, blank=True, editable=False
    )
    validation_claimed_at = models.DateTimeField(
        _("validation claimed"), null=True, blank=True, editable=False
    )
    validation_count = models.PositiveSmallIntegerField(_("validations"), default=0, editable=False)

    objects = TenantRows.as_manager()

    class Meta:
        verbose_name = _("fine-tuning job")
        verbose_name_plural = _("fine-tuning jobs")
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["tenant", "-created_at", "-id"], name="job_tenant_time"),
            models.Index(
                fields=["worker_class", "-priority", "queued_at"],
                name="job_queue",
                condition=Q(status=JobStatus.QUEUED.value),
            ),
            # fairness between tenants: running jobs, latest claim
            models.Index(fields=["tenant"], name="job_running", condition=Q(status=JobStatus.RUNNING.value)),
            models.Index(fields=["tenant", "-claimed_at"], name="job_tenant_claimed"),
            models.Index(fields=["tenant", "-validation_claimed_at"], name="job_tenant_validated"),
            models.Index(
                fields=["created_at"],
                name="job_validating",
                condition=Q(status=JobStatus.VALIDATING_FILES.value),
            ),
            # the tenant's limit of open jobs, and the jobs that need a file
            models.Index(
                fields=["tenant"],
                name="job_open",
                condition=~Q(status__in=[status.value for status in END_STATUSES]),
            ),
            models.Index(
                fields=["tenant"],
                name="job_validation_leased",
                condition=Q(status=JobStatus.VALIDATING_FILES.value, validation_until__isnull=False),
            ),
            # the latest speed of a base model on a worker class
            models.Index(
                fields=["base_model", "worker_class", "-finished_at"],
                name="job_speed",
                condition=Q(status=JobStatus.SUCCEEDED.value, tokens_per_s__gt=0),
            ),
        ]
        constraints = [
            choices_constraint("status", JobStatus, "job_status_known"),
            choices_constraint("phase", JobPhase, "job_phase_known"),
            choices_constraint("method", Method, "job_method_known"),
            choices_constraint("requested_action", RequestedAction, "job_action_known"),
            models.CheckConstraint(condition=Q(priority__lte=9), name="job_priority_range"),
            models.UniqueConstraint(
                fields=["source_checkpoint"],
                condition=~Q(status__in=[status.value for status in END_STATUSES]),
                name="job_publication_once",
            ),
        ]

    def __str__(self) -> str:
        return self.id

    @property
    def adapter(self) -> str:
        """The kind of adapter that is trained; ``full`` for the model's own weights."""
        return str(self.options.get("adapter", "lora"))


class TrainingPolicy(models.Model):
    """Rules for the jobs of one tenant. A tenant without a row has the defaults."""

    tenant = models.OneToOneField(
        Tenant, verbose_name=_("tenant"), primary_key=True, on_delete=models.CASCADE, related_name="+"
    )
    allows_preemption = models.BooleanField(
        _("gives way"),
        default=True,
        help_text=_(
            "Jobs of higher priority may interrupt the tenant's jobs, which continue from a checkpoint."
        ),
    )
    max_running_jobs = models.PositiveSmallIntegerField(
        _("running jobs"),
        null=True,
        blank=True,
        help_text=_("Maximum of jobs that run at once. Empty: the limit of the settings."),
    )

    objects = TenantRows.as_manager()

    class Meta:
        verbose_name = _("training policy")
        verbose_name_plural = _("training policies")
        ordering = ["tenant"]

    def __str__(self) -> str:
        return str(self.tenant)
