"""Django application of the administrative API."""

from django.apps import AppConfig


class AdminApiConfig(AppConfig):
    """The administrative API, which programs and pages use to manage tenants."""

    name = "api.admin_api"
    label = "admin_api"
