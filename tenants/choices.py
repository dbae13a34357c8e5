"""Choices of the columns of tenants, keys and records, and their database constraint."""

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


def choices_constraint(field: str, choices: type[models.TextChoices], name: str) -> models.CheckConstraint:
    """Return the database constraint that ``field`` holds one of ``choices``."""
    return models.CheckConstraint(condition=Q(**{f"{field}__in": choices.values}), name=name)


class Role(models.TextChoices):
    """Roles of a member in a tenant."""

    OWNER = "owner", _("owner")
    ADMIN = "admin", _("admin")
    MEMBER = "member", _("member")
    VIEWER = "viewer", _("viewer")


class Scope(models.TextChoices):
    """Permissions of an API key."""

    INFERENCE = "inference", _("run models")
    MODELS_READ = "models.read", _("list models")
    FILES = "files", _("manage files")
    FILES_READ = "files.read", _("read files")
    FINE_TUNING = "fine_tuning", _("fine-tune models")
    FINE_TUNING_READ = "fine_tuning.read", _("read fine-tuning jobs")
    ADMIN = "admin", _("administer the tenant")
    ADMIN_READ = "admin.read", _("read the tenant's administration")


ADMIN_SCOPES: frozenset[str] = frozenset({Scope.ADMIN, Scope.ADMIN_READ})


class KeyPurpose(models.TextChoices):
    """Uses of an API key: by programs, or by the console's playground, which renews its key's secret."""

    PROGRAMS = "programs", _("programs")
    PLAYGROUND = "playground", _("playground")


class Tier(models.TextChoices):
    """Priorities of a tenant's requests at a busy engine, lowest first."""

    BATCH = "batch", _("batch")
    STANDARD = "standard", _("standard")
    PRIORITY = "priority", _("priority")


class RecordState(models.TextChoices):
    """Accounting states of a usage record: an open one may still be charged differently."""

    OPEN = "open", _("open")
    SETTLED = "settled", _("settled")


class RecordOutcome(models.TextChoices):
    """Outcomes of a request: those of the protocol, and pending until it ends."""

    PENDING = "pending", _("pending")
    COMPLETED = "completed", _("completed")
    CANCELLED = "cancelled", _("cancelled")
    FAILED = "failed", _("failed")
    REFUSED = "refused", _("refused")
    LOST = "lost", _("lost")


class MeterSource(models.TextChoices):
    """Sources of the token counts in a usage record."""

    WORKER = "worker", _("worker")
    GATEWAY = "gateway", _("gateway")
    NONE = "none", _("none")
