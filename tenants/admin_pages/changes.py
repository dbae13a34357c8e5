"""Read-only admin page of administrative changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from django.contrib.admin import AllValuesFieldListFilter, display
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from typing_extensions import override

from backoffice.admin_base import ReadOnlyAdmin
from backoffice.roles import ALL_ROLES
from tenants.admin_pages.records import exact_moment
from tenants.audit_trail.differences import Difference, change_differences
from tenants.audit_trail.selectors import admin_changes_with_tenant
from tenants.audit_trail.vocabulary import verb
from tenants.models import AdminAudit

if TYPE_CHECKING:

    class ChangeWithTenant(AdminAudit):
        """A change annotated with the short name of its tenant."""

        tenant_slug: str | None


def _lines(rows: Iterable[Difference], change: AdminAudit) -> SafeString:
    values = (
        (row.name, f"{row.before or '-'} → " if change.before else "", row.after or "-") for row in rows
    )
    return format_html_join("", "<div>{}: {}{}</div>", values)


class ActionFilter(AllValuesFieldListFilter):
    """Filter for an action, with the actions in words."""

    @override
    def choices(self, changelist: Any) -> Iterator[Any]:
        """Return the choices; that of all actions stays as it is."""
        for choice in super().choices(changelist):
            yield {**choice, "display": verb(str(choice["display"]))}


class AdminAuditAdmin(ReadOnlyAdmin[AdminAudit]):
    """Administrative changes: actor, action, object and differences."""

    tenant_path = "tenant_id"  # changes without a tenant are for superusers
    exact_at = exact_moment(AdminAudit, "at")
    list_display = ("at", "actor", "action_text", "object_name", "tenant_name", "changes")
    list_filter = (("action", ActionFilter),)
    search_fields = ("actor", "object_id", "object_name", "=request_id")
    search_help_text = _("Actor, object, object id or request id")
    date_hierarchy = "at"
    fields = (
        "exact_at",
        "actor",
        "action_text",
        "action",
        "object_name",
        "object_id",
        "tenant_name",
        "tenant_id",
        "request_id",
        "changes",
    )
    readonly_fields = ("exact_at", "action_text", "tenant_name", "changes")

    @override
    def get_queryset(self, request: HttpRequest) -> QuerySet[AdminAudit]:
        """Annotate changes with the names of their tenants."""
        return self.scoped(request, admin_changes_with_tenant().order_by("-id"), ALL_ROLES)

    @display(description=_("tenant"), ordering="tenant_slug", empty_value="-")
    def tenant_name(self, change: ChangeWithTenant) -> str | None:
        """Return the tenant's short name."""
        return change.tenant_slug

    @display(description=_("action"), ordering="action")
    def action_text(self, change: AdminAudit) -> str:
        """Return the action in words."""
        return verb(change.action)

    @display(description=_("changes"), empty_value="-")
    def changes(self, change: AdminAudit) -> SafeString | None:
        """Return one line per changed value."""
        rows = change_differences(change)
        # One element, because the cards of lists on phones lay their children out in a row.
        return format_html('<div class="change-lines">{}</div>', _lines(rows, change)) if rows else None
