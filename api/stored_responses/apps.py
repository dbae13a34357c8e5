"""The Django application of what the API keeps for its clients."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class StoredConfig(AppConfig):
    """Responses that were made with ``store: true``."""

    name = "api.stored_responses"
    label = "stored"
    verbose_name = _("Stored answers")
    default_auto_field = "django.db.models.BigAutoField"
