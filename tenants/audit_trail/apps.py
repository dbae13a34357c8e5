"""The Django application of the audit trail's seals."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _

from backoffice.audited_changes import AuditedChanges


class AuditTrailConfig(AppConfig):
    """Seals that reveal changes of audit records."""

    name = "tenants.audit_trail"
    label = "audit_trail"
    verbose_name = _("Audit seals")
    default_auto_field = "django.db.models.BigAutoField"
    audited_changes = AuditedChanges(
        labels={
            "trail": _("trail"),
            "format": _("format"),
            "from": _("From"),
            "to": _("To"),
            "records": _("records"),
            "counts": _("counts of refusals"),
            "deviations": _("deviations"),
        },
        phrases={
            "audit.export": _("exported audit records"),
            "audit.purge": _("deleted old audit records"),
            "audit.purge_refusals": _("deleted old counts of refusals"),
        },
        verbs={
            "audit.export": _("made the"),
            "audit.purge": _("deleted the"),
            "audit.purge_refusals": _("deleted the"),
        },
    )
