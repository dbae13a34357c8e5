"""Django application configuration of the site, which registers its system checks."""

from django.apps import AppConfig


class SiteConfig(AppConfig):
    """Registers the system checks."""

    name = "cyllm_site"
    label = "cyllm_site"

    def ready(self) -> None:
        from cyllm_site import checks  # noqa: F401 - registers on import; needs models
