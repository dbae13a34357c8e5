"""Django application of the console."""

from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    """Pages for the members of a tenant."""

    name = "api.console"
    label = "console"
