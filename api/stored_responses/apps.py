"""Django application of stored responses."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class StoredResponsesConfig(AppConfig):
    """Responses stored for clients that sent ``store: true``."""

    name = "api.stored_responses"
    # Existing databases have migrations, permissions and the table stored_storedresponse under this label.
    label = "stored"
    verbose_name = _("Stored responses")
    default_auto_field = "django.db.models.BigAutoField"
