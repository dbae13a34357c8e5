"""The wiring as a Django application, so that its system checks are registered."""

from django.apps import AppConfig


class SiteConfig(AppConfig):
    """Registers the checks of settings against each other."""

    name = "cyllm_site"
    label = "cyllm_site"

    def ready(self) -> None:
        from cyllm_site import checks  # noqa: F401 - importing registers them; models are needed before
