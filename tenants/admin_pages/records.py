"""Shared columns, filters and base class of the read-only admin pages of request records."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

from django.contrib.admin import ShowFacets, SimpleListFilter, display
from django.db.models import Field, Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from typing_extensions import override

from backoffice.admin_base import ReadOnlyAdmin, label_column, view_action
from backoffice.display.times import exact_time, seconds_text
from tenants.choices import RecordOutcome
from tenants.models import AuditRecord, UsageRecord
from tenants.usage.models import UsageRollup

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise


R = TypeVar("R", UsageRecord, AuditRecord)
COLOURS: dict[str, str] = {
    RecordOutcome.PENDING: "info",
    RecordOutcome.COMPLETED: "success",
    RecordOutcome.CANCELLED: "warning",
    RecordOutcome.REFUSED: "warning",
    RecordOutcome.FAILED: "danger",
    RecordOutcome.LOST: "danger",
}


def seconds(model: type[Model], name: str) -> Callable[[Any, Model], str]:
    """Return an admin column that shows a duration to the millisecond."""

    @display(description=cast("Field[Any, Any]", model._meta.get_field(name)).verbose_name, ordering=name)
    def column(_page: Any, record: Model) -> str:
        value = getattr(record, name)
        return "-" if value is None else seconds_text(value)

    return column


def exact_moment(model: type[Model], name: str) -> Callable[[Any, Model], str]:
    """Return a field of a page that shows a time in UTC to the second."""

    @display(description=cast("Field[Any, Any]", model._meta.get_field(name)).verbose_name)
    def column(_page: Any, record: Model) -> str:
        value = getattr(record, name)
        return "-" if value is None else exact_time(value)

    return column


class ModelFilter(SimpleListFilter):
    """Selects the records of one model, among those that have usage."""

    title = _("model")
    parameter_name = "model"

    @override
    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, StrOrPromise]]:
        """Return the models of the tenants that the user may see. From the sums, which are few."""
        sums = UsageRollup.objects.order_by("model").exclude(model="")
        tenant_ids = model_admin.visible_tenants(request)
        visible = sums if tenant_ids is None else sums.filter(tenant_id__in=tenant_ids)
        return [(model, model) for model in visible.values_list("model", flat=True).distinct()]

    @override
    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the records of the model; an unknown one has none."""
        return queryset.filter(model=self.value()) if self.value() else queryset


class RecordAdmin(ReadOnlyAdmin[R]):
    """Admin pages of request records."""

    tenant_path = "tenant_id"
    list_filter_submit = True
    list_select_related = ("tenant", "key")
    # The tables are large: no counts that nobody requested, and no list of the days that have records.
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    actions_detail = ("whole_request",)

    @view_action("request", _("Whole request"), icon="search")
    def whole_request(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Redirect to the page with all that is recorded about the request."""
        record = self.get_object(request, object_id)
        if record is None:
            raise Http404
        url = reverse("admin:tenants_auditrecord_find_request")
        return HttpResponseRedirect(f"{url}?id={record.request_id}")

    @display(description=_("API key"), ordering="key", empty_value="-")
    def key_begins_with(self, record: R) -> str | None:
        """Return the prefix of the key."""
        return record.key.prefix if record.key else None

    @label_column(_("outcome"), COLOURS, ordering="outcome")
    def outcome_label(self, record: R) -> tuple[str, StrOrPromise]:
        """Return the outcome and its label."""
        return record.outcome, record.get_outcome_display()
