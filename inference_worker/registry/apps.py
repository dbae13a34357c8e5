"""The Django application of the model registry."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _

from backoffice.audited_changes import AuditedChanges


class RegistryConfig(AppConfig):
    """Served models, their aliases and the tenants that may use them."""

    name = "inference_worker.registry"
    label = "registry"
    verbose_name = _("Model registry")
    default_auto_field = "django.db.models.BigAutoField"
    audited_changes = AuditedChanges(
        models={
            "model": ["registry.ServedModel"],
            "adapter": ["registry.ServedModel", "registry.Adapter"],
        },
        labels={"base": _("base model"), "aliases": _("aliases"), "grants": _("grants")},
        phrases={
            "adapter.create": _("published a model"),
            "adapter.delete": _("deleted a model"),
        },
        verbs={
            "model.create": _("registered the model"),
            "model.update": _("changed the model"),
            "model.remove": _("removed the model"),
            "model.aliases": _("changed the aliases of"),
            "model.grants": _("changed the grants of"),
        },
    )
