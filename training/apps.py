"""The Django application of fine-tuning jobs."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _

from backoffice.audited_changes import AuditedChanges


class TrainingConfig(AppConfig):
    """Fine-tuning jobs, their attempts, events and checkpoints."""

    name = "training"
    verbose_name = _("Fine-tuning")
    audited_changes = AuditedChanges(
        models={"job": ["training.FineTuningJob"], "training_policy": ["training.TrainingPolicy"]},
        phrases={
            "job.create": _("created a job"),
            "job.cancel": _("cancelled a job"),
            "job.pause": _("paused a job"),
            "job.resume": _("resumed a job"),
            "job.purge_events": _("deleted old events of a job"),
        },
        verbs={
            "job.purge_events": _("deleted old events of"),
            "training_policy.set": _("set the training policy of"),
        },
    )
