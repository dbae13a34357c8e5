"""Django application of tenants, keys, usage and audit."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class TenantsConfig(AppConfig):
    """Tenants, members, API keys, the usage ledger and the audit trail."""

    name = "tenants"
    verbose_name = _("Tenants and usage")
    default_auto_field = "django.db.models.BigAutoField"
