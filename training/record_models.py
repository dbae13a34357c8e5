"""Models of the records of a job: its attempts, events, checkpoints and samples."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q
from django.db.models.fields.json import KeyTransform
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from backoffice.tenant_rows import TenantRows
from tenants.choices import choices_constraint
from training.choices import AttemptOutcome, EventLevel, EventType


class JobAttempt(models.Model):
    """One claim of a job by a training worker. ``id`` is the token that fences its writes.

    ``base_models``: those that its worker can train. Only jobs of these models can take the job's place.
    ``trained_tokens``: those of the job up to the last step that this attempt has reported, None before one.
    ``charged_tokens``: those that it was charged for when it ended.
    ``log``: the last lines of its trainer's log.
    The lease is judged by the database's clock. At most one attempt of a job runs.
    """

    id = models.UUIDField(_("token"), primary_key=True, default=uuid.uuid4, editable=False)
    job = models.ForeignKey(
        "training.FineTuningJob",
        verbose_name=_("job"),
        db_index=False,
        on_delete=models.CASCADE,
        related_name="attempts",
    )
    number = models.PositiveSmallIntegerField(_("number"))
    worker_id = models.CharField(_("worker"), max_length=128)
    base_models = models.JSONField(_("base models of the worker"), default=list, blank=True)
    outcome = models.CharField(
        _("outcome"), max_length=16, choices=AttemptOutcome.choices, default=AttemptOutcome.RUNNING
    )
    claimed_at = models.DateTimeField(_("claimed"))
    lease_until = models.DateTimeField(_("lease until"))
    ended_at = models.DateTimeField(_("ended"), null=True, blank=True)
    error_code = models.CharField(_("error code"), max_length=100, blank=True)
    error_message = models.TextField(_("error"), blank=True)
    trained_tokens = models.PositiveBigIntegerField(_("trained tokens"), null=True, blank=True)
    charged_tokens = models.PositiveBigIntegerField(_("charged tokens"), default=0)
    # The database default serves training workers of the previous version, until they are restarted.
    log = models.TextField(_("log of the trainer"), blank=True, default="", db_default="")

    TENANT_LOOKUP = "job__tenant_id"
    objects = TenantRows.as_manager()

    class Meta:
        verbose_name = _("attempt")
        verbose_name_plural = _("attempts")
        ordering = ["job", "number"]
        constraints = [
            choices_constraint("outcome", AttemptOutcome, "attempt_outcome_known"),
            models.UniqueConstraint(fields=["job", "number"], name="attempt_number_once"),
            models.UniqueConstraint(
                fields=["job"],
                condition=Q(outcome=AttemptOutcome.RUNNING.value),
                name="attempt_running_once",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.job_id} #{self.number}"


class JobEvent(models.Model):
    """An event of a job. ``number`` counts from 1 without gaps."""

    job = models.ForeignKey(
        "training.FineTuningJob",
        verbose_name=_("job"),
        db_index=False,
        on_delete=models.CASCADE,
        related_name="events",
    )
    number = models.PositiveIntegerField(_("number"))
    at = models.DateTimeField(_("time"), default=timezone.now)
    level = models.CharField(_("level"), max_length=8, choices=EventLevel.choices)
    type = models.CharField(_("type"), max_length=16, choices=EventType.choices, default=EventType.MESSAGE)
    message = models.TextField(_("message"))
    data = models.JSONField(_("data"), default=dict, blank=True)

    TENANT_LOOKUP = "job__tenant_id"
    objects = TenantRows.as_manager()

    class Meta:
        verbose_name = _("job event")
        verbose_name_plural = _("job events")
        ordering = ["job", "number"]
        indexes = [
            # Among many steps, pages look for the few messages and evaluations.
            models.Index(
                fields=["job", "-number"], name="event_message", condition=Q(type=EventType.MESSAGE.value)
            ),
            models.Index(
                fields=["job", "number"], name="event_evaluation", condition=Q(data__has_key="valid_loss")
            ),
            # the page of a step
            models.Index(
                "job",
                KeyTransform("step", "data"),
                "number",
                name="event_step",
                condition=Q(type=EventType.METRICS.value, data__has_key="train_loss"),
            ),
        ]
        constraints = [
            choices_constraint("level", EventLevel, "event_level_known"),
            choices_constraint("type", EventType, "event_type_known"),
            models.UniqueConstraint(fields=["job", "number"], name="event_number_once"),
        ]

    def __str__(self) -> str:
        return f"{self.job_id} {self.number}: {self.message}"


class JobCheckpoint(models.Model):
    """A saved checkpoint. ``metrics``: as in the API. ``folder``: its name in the job's folder.

    ``is_outdated``: the job may have begun anew since, so training workers need not have it.
    """

    id = models.CharField(_("id"), max_length=64, primary_key=True)  # ftckpt_…
    job = models.ForeignKey(
        "training.FineTuningJob",
        verbose_name=_("job"),
        db_index=False,
        on_delete=models.CASCADE,
        related_name="checkpoints",
    )
    step = models.PositiveIntegerField(_("step"))
    folder = models.CharField(_("folder"), max_length=200)
    metrics = models.JSONField(_("metrics"), default=dict)
    is_best = models.BooleanField(_("best"), default=False)
    is_outdated = models.BooleanField(default=False, db_default=False, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    TENANT_LOOKUP = "job__tenant_id"
    objects = TenantRows.as_manager()

    class Meta:
        verbose_name = _("checkpoint")
        verbose_name_plural = _("checkpoints")
        ordering = ["job", "-step"]
        constraints = [models.UniqueConstraint(fields=["job", "step"], name="checkpoint_step_once")]

    def __str__(self) -> str:
        return gettext("%(job)s, step %(step)s") % {"job": self.job_id, "step": self.step}


class JobSampleLines(models.Model):
    """The lines of a job's samples in its training file, packed (``training.datasets.tokens.sample_lines``).

    With seed and batch size they tell the examples of each step. They outlive the worker's copy of the data.
    """

    job = models.OneToOneField(
        "training.FineTuningJob",
        verbose_name=_("job"),
        primary_key=True,
        on_delete=models.CASCADE,
        related_name="sample_lines",
    )
    packed = models.BinaryField(_("lines"))

    TENANT_LOOKUP = "job__tenant_id"
    objects = TenantRows.as_manager()

    class Meta:
        verbose_name = _("lines of samples")
        verbose_name_plural = _("lines of samples")
        ordering = ["job"]

    def __str__(self) -> str:
        return str(self.job_id)
