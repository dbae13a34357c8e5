"""The values that stored states of tenants, keys and records can have."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class Role(models.TextChoices):
    """What a member may do in a tenant."""

    OWNER = "owner", _("owner")
    ADMIN = "admin", _("admin")
    MEMBER = "member", _("member")
    VIEWER = "viewer", _("viewer")


class Scope(models.TextChoices):
    """What a key may be used for."""

    INFERENCE = "inference", _("run models")
    MODELS_READ = "models.read", _("list models")


class RecordState(models.TextChoices):
    """Whether a usage record may still be charged differently."""

    OPEN = "open", _("open")
    SETTLED = "settled", _("settled")


class RecordOutcome(models.TextChoices):
    """How a request ended; the protocol's outcomes, and pending while it has not."""

    PENDING = "pending", _("pending")
    COMPLETED = "completed", _("completed")
    CANCELLED = "cancelled", _("cancelled")
    FAILED = "failed", _("failed")
    REFUSED = "refused", _("refused")
    LOST = "lost", _("lost")


class MeterSource(models.TextChoices):
    """Whose count of tokens a usage record carries."""

    WORKER = "worker", _("worker")
    GATEWAY = "gateway", _("gateway")
    NONE = "none", _("none")
