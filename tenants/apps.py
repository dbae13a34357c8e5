"""Django application of tenants, keys, usage and audit."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _

from backoffice.audited_changes import AuditedChanges


class TenantsConfig(AppConfig):
    """Tenants, members, API keys, the usage ledger and the audit trail."""

    name = "tenants"
    verbose_name = _("Tenants and usage")
    default_auto_field = "django.db.models.BigAutoField"
    audited_changes = AuditedChanges(
        models={
            "tenant": ["tenants.Tenant"],
            "membership": ["tenants.Membership"],
            "key": ["tenants.ApiKey"],
            "service_account": ["tenants.ServiceAccount"],
            "user": ["auth.User"],
        },
        phrases={
            "tenant.create": _("created the tenant"),
            "tenant.update": _("changed the tenant"),
            "membership.set": _("set a role"),
            "membership.remove": _("removed a member"),
            "key.create": _("created a key"),
            "key.update": _("changed a key"),
            "key.rotate": _("rotated a key"),
            "key.renew": _("renewed a playground key"),
            "key.revoke": _("revoked a key"),
            "service_account.create": _("created a service account"),
            "service_account.update": _("renamed a service account"),
            "service_account.delete": _("deleted a service account"),
        },
        verbs={
            "membership.set": _("set the role of"),
            "membership.remove": _("removed the member"),
            "user.create": _("created the account"),
            "user.update": _("changed the account"),
            "user.password": _("changed the password of"),
        },
    )
