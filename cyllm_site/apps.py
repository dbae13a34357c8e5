"""Django application configuration of the site, which registers its system checks."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _

from backoffice.audited_changes import AuditedChanges


class SiteConfig(AppConfig):
    """Registers the system checks and the trail of sign-ins."""

    name = "cyllm_site"
    label = "cyllm_site"
    audited_changes = AuditedChanges(
        verbs={
            "sign_in.fail": _("failed to sign in as"),
            "sign_in.lock": _("was locked out as"),
            "sign_in.unlock": _("unlocked sign-ins of"),
            "two_factor.enrol": _("set up a second factor for"),
            "two_factor.codes": _("replaced recovery codes of"),
            "two_factor.recovery": _("used a recovery code of"),
            "two_factor.remove": _("removed the second factor of"),
        }
    )

    def ready(self) -> None:
        from cyllm_site import checks  # noqa: F401 - registers on import; needs models
        from cyllm_site.middleware import error_log  # noqa: F401 - registers on import
        from cyllm_site.sign_in import sessions, trail  # noqa: F401 - register on import; need models
