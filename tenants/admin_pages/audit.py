"""Admin pages of audit records, of one request, and of counts of refusals."""

from __future__ import annotations

from django.contrib.admin import ShowFacets, display
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from backoffice.admin_base import ReadOnlyAdmin, view_action
from backoffice.list_filters import RelatedRowFilter
from tenants.admin_pages.records import ModelFilter, RecordAdmin, exact_moment, seconds
from tenants.admin_pages.request_search import RequestSearchForm, search_context
from tenants.models import ApiKey, AuditRecord
from tenants.usage.models import RefusalCount
from tenants.usage.requests import RequestReport


class AuditAdmin(RecordAdmin[AuditRecord]):
    """Audit records of API requests, refused requests included."""

    duration = seconds(AuditRecord, "duration_s")

    exact_at = exact_moment(AuditRecord, "at")

    list_display = (
        *("at", "tenant", "status", "outcome_label", "error_code", "endpoint", "model_name"),
        *("key_prefix", "client_ip"),
    )
    list_filter = (*("at", "outcome", ModelFilter, ("tenant", RelatedRowFilter), ("key", RelatedRowFilter)),)
    actions_list = ("find_request",)
    search_fields = ("request_id__exact", "correlation_id__exact", "key_prefix__exact")
    search_help_text = _("Complete request id, correlation id or key prefix")
    readonly_fields = ("duration", "exact_at", "message", "remedy")
    fieldsets = (
        (None, {"fields": ("exact_at", "request_id", "correlation_id", "tenant", "key", "key_prefix")}),
        (_("Request"), {"fields": ("client_ip", "method", "endpoint", "requested_model", "model")}),
        (
            _("Result"),
            {"fields": ("outcome", "status", "error_code", "error_param", "message", "remedy", "duration")},
        ),
    )

    @display(description=_("model"), ordering="model", empty_value="-")
    def model_name(self, record: AuditRecord) -> str | None:
        """Return the model, or the client's name of it if the request got none."""
        return record.model or record.requested_model or None

    @display(description=_("message to the client"), empty_value="-")
    def message(self, record: AuditRecord) -> str | None:
        """Return the message of the error."""
        explanation = RequestReport(record.request_id, None, record).explanation
        return explanation.message if explanation else None

    @display(description=_("remedy"), empty_value="-")
    def remedy(self, record: AuditRecord) -> str | None:
        """Return the remedy from the error catalogue."""
        explanation = RequestReport(record.request_id, None, record).explanation
        return explanation.remedy if explanation else None

    @view_action("request", _("Find a request"), icon="search")
    def find_request(self, request: HttpRequest) -> HttpResponse:
        """Show all that is recorded about the request with an id, or the latest requests of a key."""
        text = request.GET.get("id", "")
        form = RequestSearchForm(request.GET if text else None)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "form": form,
            "title": _("Request"),
        }
        if form.is_valid():
            search = search_context(form.cleaned_data["id"], self.visible_tenants(request))
            context |= search | {"is_search": True, "key_url": _key_url(request, search["key"])}
        return TemplateResponse(request, "admin/tenants/auditrecord/request.html", context)


def _key_url(request: HttpRequest, key: ApiKey | None) -> str:
    """Return the address of the key's page, empty without the right to view it."""
    if key is None or not request.user.has_perm("tenants.view_apikey"):
        return ""
    return reverse("admin:tenants_apikey_change", args=[key.pk])


class RefusalCountAdmin(ReadOnlyAdmin[RefusalCount]):
    """Counts of refused requests that have no audit record each."""

    tenant_path = "tenant_id"
    list_display = (
        *("minute_at", "tenant", "key_prefix", "client_network", "endpoint", "error_code", "requests"),
    )
    list_filter = ("minute_at", "error_code", ("tenant", RelatedRowFilter))
    list_filter_submit = True
    list_select_related = ("tenant",)
    search_fields = ("key_prefix__exact", "client_network__startswith")
    search_help_text = _("Key prefix or client network")
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
