"""The Django application of usage sums and refusal counts."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class UsageConfig(AppConfig):
    """Roll-ups of usage records, and counts of refused requests."""

    name = "tenants.usage"
    label = "usage"
    verbose_name = _("Usage")
    default_auto_field = "django.db.models.BigAutoField"
