"""Admin page of stored responses: metadata only, never their contents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin
from django.contrib.admin import ShowFacets
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from typing_extensions import override

from api.stored_responses.models import ResponseStatus, StoredResponse
from backoffice.admin_base import ReadOnlyAdmin, label_column
from backoffice.list_filters import RelatedRowFilter

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

COLOURS: dict[str, str] = {
    ResponseStatus.QUEUED: "info",
    ResponseStatus.IN_PROGRESS: "info",
    ResponseStatus.COMPLETED: "success",
    ResponseStatus.INCOMPLETE: "warning",
    ResponseStatus.FAILED: "danger",
    ResponseStatus.CANCELLED: "warning",
}


@admin.register(StoredResponse)
class StoredResponseAdmin(ReadOnlyAdmin[StoredResponse]):
    """Stored responses without their contents, which belong to the tenant alone."""

    tenant_path = "tenant_id"
    list_display = ("created_at", "tenant", "model", "status_label", "background", "expires_at")
    list_filter = ("status", "background", ("tenant", RelatedRowFilter))
    list_filter_submit = True
    list_select_related = ("tenant",)
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    search_fields = ("id__exact",)
    search_help_text = _("Complete response id")
    fields = (
        *("id", "tenant", "model", "status", "background", "previous_response_id", "gateway_id"),
        *("created_at", "expires_at"),
    )

    @override
    def get_queryset(self, request: HttpRequest) -> QuerySet[StoredResponse]:
        """Defer the contents, which may be large."""
        return super().get_queryset(request).defer("body", "input_items")

    @label_column(_("status"), COLOURS, ordering="status")
    def status_label(self, response: StoredResponse) -> tuple[str, StrOrPromise]:
        """Return the status and its label."""
        return response.status, ResponseStatus(response.status).label
