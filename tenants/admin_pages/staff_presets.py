"""Sets of permissions for the usual tasks of staff."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db.models import Q, QuerySet, TextChoices
from django.utils.translation import gettext_lazy as _


class StaffPreset(TextChoices):
    """The presets that the form of a user offers."""

    SUPPORT = "support", _("Support: view all pages, change nothing")
    ACCESS = "access", _("Access: also manage tenants, members, service accounts and keys")
    JOBS = "jobs", _("Jobs: also manage files and fine-tuning jobs")


# Models, as content types name them, that a preset may change; it may view all except user accounts.
WRITABLE: dict[StaffPreset, tuple[str, ...]] = {
    StaffPreset.SUPPORT: (),
    StaffPreset.ACCESS: ("tenant", "membership", "serviceaccount", "apikey"),
    StaffPreset.JOBS: ("storedfile", "finetuningjob"),
}


def preset_permissions(preset: StaffPreset) -> QuerySet[Permission]:
    """Return the permissions of a preset, for models with pages in the admin."""
    models = [model for model in admin.site._registry if model._meta.app_label != "auth"]
    types = ContentType.objects.get_for_models(*models).values()
    rights = Q(codename__startswith="view_") | Q(content_type__model__in=WRITABLE[preset])
    return Permission.objects.filter(rights, content_type__in=types)
