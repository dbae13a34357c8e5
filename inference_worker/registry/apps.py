"""The Django application of the model registry."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class RegistryConfig(AppConfig):
    """Served models, their aliases and the tenants that may use them."""

    name = "inference_worker.registry"
    label = "registry"
    verbose_name = _("Model registry")
    default_auto_field = "django.db.models.BigAutoField"
