"""Admin page of uploaded files: metadata, never their contents. A file that jobs use can't be deleted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import ShowFacets, display
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from typing_extensions import override

from backoffice.admin_base import AuditedAdmin, actor_of
from backoffice.display.json_display import json_display
from backoffice.display.sizes import size_text
from backoffice.list_filters import RelatedRowFilter
from tenants.files.deletion import FileInUseError, file_delete, file_users
from tenants.files.models import StoredFile


@admin.register(StoredFile)
class FileAdmin(AuditedAdmin[StoredFile]):
    """Files of the user's tenants."""

    audit_kind = "file"
    tenant_path = "tenant_id"
    list_display = ("created_at", "tenant", "filename", "purpose", "size", "expires_at")
    list_filter = ("purpose", ("tenant", RelatedRowFilter))
    list_filter_submit = True
    list_select_related = ("tenant",)
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    search_fields = ("id__exact", "filename__startswith", "sha256__exact")
    search_help_text = _("Complete file id or SHA-256, or the beginning of the file name")
    date_hierarchy = "created_at"
    readonly_fields = ("size", "report")
    report = json_display("dataset_report", _("dataset report"))
    fields = (
        *("id", "tenant", "filename", "purpose", "size", "size_bytes", "sha256", "storage_name"),
        *("created_at", "expires_at", "report"),
    )

    @display(description=_("size"), ordering="size_bytes")
    def size(self, file: StoredFile) -> str:
        """Return the size in a readable unit."""
        return size_text(file.size_bytes)

    @override
    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    @override
    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def get_deleted_objects(
        self, objs: Iterable[StoredFile], request: HttpRequest
    ) -> tuple[list[Any], dict[Any, int], set[Any], list[Any]]:
        """Return the files with the jobs that protect them, for the page that asks for confirmation."""
        files = list(objs)
        permissions_needed = {
            self.opts.verbose_name for file in files if not self.has_delete_permission(request, file)
        }
        users = [f"{file.filename}: {user}" for file in files for user in file_users(file)]
        counts = {self.opts.verbose_name_plural: len(files)}
        return [str(file) for file in files], counts, permissions_needed, users

    def delete_model(self, request: HttpRequest, obj: StoredFile) -> None:
        """Delete through the service."""
        try:
            file_delete(file_id=obj.pk, actor=actor_of(request.user))
        except FileInUseError as error:  # by a job that was created after the question
            users = ", ".join(error.users)
            text = _("%(name)s is used by %(users)s and was not deleted.")
            messages.error(request, text % {"name": obj.filename, "users": users})

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[StoredFile]) -> None:
        """Delete each file through the service."""
        for file in queryset:
            self.delete_model(request, file)
