"""Choices of the columns of jobs, attempts and events."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class JobStatus(models.TextChoices):
    """Statuses of a job in the API."""

    VALIDATING_FILES = "validating_files", _("validating files")
    QUEUED = "queued", _("queued")
    RUNNING = "running", _("running")
    PAUSED = "paused", _("paused")
    SUCCEEDED = "succeeded", _("succeeded")
    FAILED = "failed", _("failed")
    CANCELLED = "cancelled", _("cancelled")


END_STATUSES = (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED)


class JobPhase(models.TextChoices):
    """Phases of a running job."""

    NONE = "", _("none")
    PREPARING = "preparing", _("preparing data")
    TRAINING = "training", _("training")
    EVALUATING = "evaluating", _("evaluating")
    WAITING_FOR_WORKER = "waiting_for_worker", _("waiting for an inference worker of the base model")
    VERIFYING = "verifying", _("verifying the adapter on an inference worker")
    PUBLISHING = "publishing", _("publishing")


class JobAction(models.TextChoices):
    """Actions of users on a job."""

    CANCEL = "cancel", _("cancel")
    PAUSE = "pause", _("pause")
    RESUME = "resume", _("resume")

    @property
    def past_participle(self) -> str:
        """The verb for messages in English, such as ``cancelled``."""
        return {"cancel": "cancelled", "pause": "paused", "resume": "resumed"}[self.value]


class Method(models.TextChoices):
    """Training methods."""

    SUPERVISED = "supervised", _("supervised")
    DPO = "dpo", _("direct preference optimization")


class RequestedAction(models.TextChoices):
    """Requests to the running attempt, obeyed at its next step."""

    NONE = "", _("none")
    CANCEL = "cancel", _("cancel")
    PAUSE = "pause", _("pause")
    PREEMPT = "preempt", _("give way to a job of higher priority")


class AttemptOutcome(models.TextChoices):
    """Outcomes of an attempt."""

    RUNNING = "running", _("running")
    SUCCEEDED = "succeeded", _("succeeded")
    FAILED = "failed", _("failed")
    CANCELLED = "cancelled", _("cancelled")
    PAUSED = "paused", _("paused")
    RELEASED = "released", _("released to another worker")
    LOST = "lost", _("lost")


class EventLevel(models.TextChoices):
    """Levels of an event in the API."""

    INFO = "info", _("info")
    WARN = "warn", _("warning")
    ERROR = "error", _("error")


class EventType(models.TextChoices):
    """Types of an event in the API."""

    MESSAGE = "message", _("message")
    METRICS = "metrics", _("metrics")
