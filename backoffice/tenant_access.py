"""Access of staff to the admin: Django's permissions, limited to the tenants in which the user has a role.

Superusers may do everything. Every page class states how its rows belong to tenants, or that they belong to
none; a system check finds those that don't. This package may not import tenants, so the setting
``TENANTS_OF_USER`` names the function that returns a user's tenants.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ChangeList
from django.db.models import DateTimeField, ForeignKey, Model, QuerySet
from django.http import HttpRequest, HttpResponseRedirect, QueryDict
from django.urls import reverse
from django.utils.module_loading import import_string
from django.utils.translation import gettext
from typing_extensions import override

from backoffice.display.times import time_column
from backoffice.roles import ALL_ROLES, MANAGERS

# Only django-stubs' version of the class is generic.
if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin

    BaseAdmin = ModelAdmin
else:
    from unfold.admin import ModelAdmin

    class BaseAdmin(ModelAdmin):
        """Unfold's admin page of a model."""

        def __class_getitem__(cls, model: object) -> type:
            return cls


M = TypeVar("M", bound=Model)
MAX_PARAMETERS = 20  # of a list's address that are tried to find the wrong one


class TenantAccess(BaseAdmin[M]):
    """Admin pages that show and change only rows of the user's tenants.

    ``tenant_path`` is the lookup of a row's tenant id, None for models whose rows belong to no tenant: there
    Django's permissions alone decide. ``writing_roles`` may add, change and delete rows.
    """

    tenant_path: ClassVar[str | None]
    writing_roles: ClassVar[Collection[str]] = MANAGERS
    warn_unsaved_form = True
    list_per_page = 50  # the theme needs about 2 ms for a row

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Fill a new row's tenant with that of the filtered list from which its page was opened."""
        initial: dict[str, Any] = dict(super().get_changeform_initial_data(request))
        filters = QueryDict(str(initial.pop("_changelist_filters", "")))
        for field in self.model._meta.concrete_fields:
            if value := filters.get(f"{field.name}__id__exact", filters.get(f"{field.name}__exact")):
                initial.setdefault(field.name, value)
        return initial

    @override
    def get_list_display(self, request: HttpRequest) -> Any:
        """Return the columns of the list; times are relative, and their headings name the zone."""
        times: dict[Any, Any] = {
            field.name: time_column(field)
            for field in self.model._meta.concrete_fields
            if isinstance(field, DateTimeField)
        }
        return [times.get(name, name) for name in super().get_list_display(request)]

    @override
    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Return the list. It has no filters, and an error is shown, if a parameter can't be a filter."""
        try:
            return super().get_changelist_instance(request)
        except IncorrectLookupParameters:
            names = ", ".join(self._unusable_parameters(request))[:200]
            text = gettext("“%(names)s” can't be used to filter this list, which is shown without filters.")
            messages.error(request, text % {"names": names})
            request.GET = QueryDict()
            return super().get_changelist_instance(request)

    def _unusable_parameters(self, request: HttpRequest) -> list[str]:
        """Return the parameters that the list rejects, trying each on its own."""
        parameters = request.GET
        names: list[str] = []
        for name in list(parameters)[:MAX_PARAMETERS]:
            request.GET = QueryDict(urlencode({name: parameters.getlist(name)}, doseq=True))
            try:
                super().get_changelist_instance(request)
            except IncorrectLookupParameters:
                names.append(name)
        return names

    def _get_obj_does_not_exist_redirect(
        self, request: HttpRequest, opts: Any, object_id: str
    ) -> HttpResponseRedirect:
        """Return to the list of the model, and say that there is no such object."""
        values = {"name": opts.verbose_name, "id": unquote(object_id)[:100]}
        messages.warning(request, gettext("There is no %(name)s “%(id)s”, or you may not see it.") % values)
        page = (
            f"{opts.app_label}_{opts.model_name}_changelist" if self.has_view_permission(request) else "index"
        )
        return HttpResponseRedirect(reverse(f"admin:{page}"))

    def scoped(self, request: HttpRequest, rows: QuerySet[M], roles: Collection[str]) -> QuerySet[M]:
        """Return the rows of tenants in which the user has one of ``roles``."""
        if self.tenant_path is None or request.user.is_superuser:
            return rows
        return rows.filter(**{f"{self.tenant_path}__in": _tenants(request, roles)})

    @override
    def get_queryset(self, request: HttpRequest) -> QuerySet[M]:
        return self.scoped(request, super().get_queryset(request), ALL_ROLES)

    def is_within(self, request: HttpRequest, obj: Any, roles: Collection[str]) -> bool:
        """Return whether a row, given as object or id, is in a tenant in which the user has one of ``roles``.

        Without a row, return whether there is such a tenant.
        """
        if self.tenant_path is None or request.user.is_superuser:
            return True
        if obj is None:
            return _tenants(request, roles).exists()
        key = obj.pk if isinstance(obj, Model) else obj
        rows = self.model._default_manager.filter(pk=key)
        return self.scoped(request, rows, roles).exists()

    def visible_tenants(self, request: HttpRequest) -> list[Any] | None:
        """Return the ids of the tenants whose rows the user may see, None for all."""
        return None if request.user.is_superuser else list(_tenants(request, ALL_ROLES))

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Apply Django's permissions to rows of the user's tenants."""
        is_allowed: bool = super().has_view_permission(request, obj)
        return is_allowed and (obj is None or self.is_within(request, obj, ALL_ROLES))

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002 - Unfold passes it
        """Apply Django's permissions to users with a writing role somewhere."""
        is_allowed: bool = super().has_add_permission(request)
        return is_allowed and self.is_within(request, None, self.writing_roles)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Apply Django's permissions to rows of tenants in which the user has a writing role."""
        is_allowed: bool = super().has_change_permission(request, obj)
        return is_allowed and (obj is None or self.is_within(request, obj, self.writing_roles))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Apply Django's permissions to rows of tenants in which the user has a writing role."""
        is_allowed: bool = super().has_delete_permission(request, obj)
        return is_allowed and (obj is None or self.is_within(request, obj, self.writing_roles))

    def formfield_for_foreignkey(
        self, db_field: ForeignKey[Any, Any], request: HttpRequest, **kwargs: Any
    ) -> Any:
        """Offer and accept only rows of tenants in which the user has a writing role."""
        model = db_field.remote_field.model
        page = self.admin_site._registry.get(model)
        if isinstance(page, TenantAccess):
            rows = kwargs.get("queryset", model._default_manager.all())
            kwargs["queryset"] = page.scoped(request, rows, self.writing_roles)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)


def _tenants(request: HttpRequest, roles: Collection[str]) -> QuerySet[Any]:
    function = cast("Callable[..., QuerySet[Any]]", import_string(settings.TENANTS_OF_USER))
    return function(request.user.pk, roles)
