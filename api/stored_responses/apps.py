"""Django application of stored responses."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _

from backoffice.audited_changes import AuditedChanges


class StoredResponsesConfig(AppConfig):
    """Responses stored for their clients, until they expire."""

    name = "api.stored_responses"
    # Existing databases have migrations, permissions and the table stored_storedresponse under this label.
    label = "stored"
    verbose_name = _("Stored responses")
    default_auto_field = "django.db.models.BigAutoField"
    audited_changes = AuditedChanges(
        labels={"responses": _("stored responses")},
        phrases={"response.purge": _("deleted stored responses")},
        verbs={"response.purge": _("deleted the")},
    )
