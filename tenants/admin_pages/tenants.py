"""Admin pages of tenants and their members."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.admin import display
from django.db.models import QuerySet
from django.forms import BooleanField, ModelForm
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from typing_extensions import override

from backoffice.admin_base import PageForm, ServiceAdmin, actor_of
from backoffice.display.links import link_html
from backoffice.list_filters import RelatedRowFilter
from backoffice.roles import ALL_ROLES, OWNERS
from tenants import services
from tenants.admin_pages.limit_forms import LimitFields, limits_line, settings_of
from tenants.admin_pages.usage_links import UsageLinks
from tenants.choices import Tier
from tenants.keys.selectors import KeyState
from tenants.limits.changes import LIMIT_COLUMNS, LIMIT_FIELDS
from tenants.limits.columns import UsageLimits
from tenants.limits.texts import TENANT_HELP
from tenants.members import services as member_services
from tenants.models import Membership, Tenant
from tenants.quotas.amounts import with_defaults
from tenants.quotas.rehearsal import Rehearsal, limits_rehearse
from tenants.selectors import tenants_with_counts

if TYPE_CHECKING:
    from tenants.selectors import TenantWithCounts


DETAILS = ("valid_keys", "members", "id", "created_at")
SETTINGS = ("tier", *LIMIT_FIELDS, "stored_bytes", "audit_keep_days")


class TenantForm(LimitFields, PageForm[Tenant]):
    """A tenant with its limits; those that would have refused recent requests need a confirmation."""

    limit_help = TENANT_HELP
    accepts_refusals = BooleanField(
        label=_("Save even if requests would have been refused"),
        required=False,
        help_text=_("New limits are tried on the requests of the last 7 days first."),
    )

    class Meta:
        model = Tenant
        fields = ("slug", "name", "active", *SETTINGS)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "tier" in self.fields:
            self.fields["tier"].required = False

    def clean_tier(self) -> str:
        """Return the tier; the default one if the form lacks the field."""
        return self.cleaned_data["tier"] or Tier.STANDARD

    def clean(self) -> dict[str, Any]:
        """Rehearse changed limits, unless the person accepts refusals."""
        data: dict[str, Any] = super().clean() or self.cleaned_data
        is_changed = not self.instance._state.adding and set(self.changed_data) & set(LIMIT_COLUMNS)
        if is_changed and not self.errors and not data.get("accepts_refusals"):
            limits = UsageLimits(**{name: data[name] for name in LIMIT_COLUMNS})
            effective = with_defaults(limits, settings.CYLLM)
            rehearsal = limits_rehearse(self.instance.pk, effective, now=timezone.now())
            if rehearsal.refusals:
                self.add_error("accepts_refusals", _refusals_text(rehearsal))
        return data


def _refusals_text(rehearsal: Rehearsal) -> str:
    text = gettext(
        "With these limits, %(refused)s of %(requests)s requests of the last 7 days would have been refused "
        "(keys concerned: %(keys)s). Tick this box to save nevertheless."
    )
    values = {"refused": rehearsal.refusals, "requests": rehearsal.requests, "keys": rehearsal.keys}
    return text % {name: f"{value:,}" for name, value in values.items()}


class TenantAdmin(UsageLinks, ServiceAdmin[Tenant]):
    """Tenants: deactivated but never deleted, because usage and audit records refer to them."""

    form = TenantForm
    audit_kind = "tenant"
    tenant_path = "pk"
    writing_roles = OWNERS
    list_display = ("slug", "name", "active", "tier", "limits", "valid_keys", "members", "created_at")
    list_filter = ("active", "tier")
    search_fields = ("slug", "name")
    search_help_text = _("Short name or name")
    actions_detail = ("usage", "usage_records")
    usage_field = "tenant"

    @override
    def lock(self, object_id: str) -> None:
        Tenant.objects.select_for_update(no_key=True).filter(pk=object_id).first()

    @override
    def get_queryset(self, request: HttpRequest) -> QuerySet[Tenant]:
        """Annotate tenants with their counts."""
        rows = tenants_with_counts(timezone.now()).order_by("slug")
        return self.scoped(request, rows, ALL_ROLES)

    @display(description=_("valid keys"))
    def valid_keys(self, tenant: TenantWithCounts) -> SafeString:
        """Return the number of valid keys, linked to their list."""
        page = reverse("admin:tenants_apikey_changelist")
        address = f"{page}?tenant__id__exact={tenant.pk}&state={KeyState.VALID.value}"
        return link_html(address, tenant.key_count)

    @display(description=_("limits"), empty_value="-")
    def limits(self, tenant: Tenant) -> str | None:
        """Return the limits that are set."""
        return limits_line(tenant)

    @display(description=_("members"))
    def members(self, tenant: TenantWithCounts) -> SafeString:
        """Return the number of members, linked to their list."""
        page = reverse("admin:tenants_membership_changelist")
        return link_html(f"{page}?tenant__id__exact={tenant.pk}", tenant.member_count)

    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:  # noqa: ARG002 - Unfold passes it
        """Leave new tenants to superusers: nobody has a role in them yet."""
        return request.user.is_superuser

    @override
    def get_fieldsets(self, request: HttpRequest, obj: Tenant | None = None) -> Any:
        """Return the form's fields; a new tenant is always active."""
        names = ("slug", "name") if obj is None else ("slug", "name", "active")
        about = [] if obj is None else [(_("About this tenant"), {"fields": DETAILS})]
        limits: tuple[str, ...] = (*LIMIT_FIELDS, "tier", "stored_bytes", "audit_keep_days")
        if obj is not None and request.user.is_superuser:
            limits = (*limits, "accepts_refusals")
        return [(None, {"fields": names}), (_("Limits"), {"fields": limits}), *about]

    @override
    def get_readonly_fields(self, request: HttpRequest, obj: Tenant | None = None) -> tuple[str, ...]:
        """Return the fields that can't be edited. Members of the tenant can't edit its limits."""
        details = () if obj is None else DETAILS
        return details if request.user.is_superuser else (*SETTINGS, "active", *details)

    @override
    def save_model(self, request: HttpRequest, obj: Tenant, form: ModelForm[Tenant], change: bool) -> None:
        """Create or update through the services."""
        actor = actor_of(request.user)
        if change:
            changes = settings_of(form, ("slug", "name", "active", *SETTINGS))
            services.tenant_update(tenant_id=obj.pk, actor=actor, **changes)
        else:
            new = services.tenant_create(actor=actor, **settings_of(form, ("slug", "name", *SETTINGS)))
            obj.pk = new.pk


class MembershipAdmin(ServiceAdmin[Membership]):
    """Roles of users in tenants."""

    audit_kind = "membership"
    tenant_path = "tenant_id"
    writing_roles = OWNERS
    list_display = ("user", "tenant", "role", "created_at")
    list_filter = ("role", ("tenant", RelatedRowFilter))
    list_filter_submit = True
    list_select_related = ("tenant", "user")
    search_fields = ("tenant__slug", "user__username")
    search_help_text = _("Tenant or user")
    autocomplete_fields = ("tenant", "user")
    fields = ("tenant", "user", "role")

    @override
    def lock(self, object_id: str) -> None:
        Tenant.objects.select_for_update(no_key=True, of=("self",)).filter(memberships__pk=object_id).first()

    @override
    def get_readonly_fields(self, request: HttpRequest, obj: Membership | None = None) -> tuple[str, ...]:
        """Return the fields that cannot change after creation."""
        return () if obj is None else ("tenant", "user")

    @override
    def save_model(
        self, request: HttpRequest, obj: Membership, form: ModelForm[Membership], change: bool
    ) -> None:
        """Set the role through the service."""
        membership = member_services.membership_set(
            tenant=obj.tenant, user=obj.user, role=obj.role, actor=actor_of(request.user)
        )
        obj.pk = membership.pk

    @override
    def has_delete_permission(self, request: HttpRequest, obj: Membership | None = None) -> bool:
        """Apply Django's permissions: memberships can be deleted."""
        return request.user.has_perm("tenants.delete_membership") and self.is_within(
            request, obj, self.writing_roles
        )

    def delete_model(self, request: HttpRequest, obj: Membership) -> None:
        """Remove the membership through the service, unless another request has removed it meanwhile."""
        with suppress(Membership.DoesNotExist):
            member_services.membership_remove(tenant=obj.tenant, user=obj.user, actor=actor_of(request.user))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Membership]) -> None:
        """Remove each membership through the service."""
        for membership in queryset.select_related("tenant", "user"):
            self.delete_model(request, membership)
