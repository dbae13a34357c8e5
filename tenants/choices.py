"""Choices of the columns of tenants, keys and records."""

from django.db import models
from django.utils.translation import gettext_lazy as _


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
