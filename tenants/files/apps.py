"""The Django application of uploaded files."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _

from backoffice.audited_changes import AuditedChanges


class FilesConfig(AppConfig):
    """Uploaded files of tenants."""

    name = "tenants.files"
    label = "files"
    verbose_name = _("Files")
    audited_changes = AuditedChanges(
        models={"file": ["files.StoredFile"]},
        phrases={
            "file.create": _("uploaded a file"),
            "file.delete": _("deleted a file"),
            "file.expire": _("deleted an expired file"),
        },
    )
