"""Filters of the admin's lists."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from backoffice.roles import ALL_ROLES
from backoffice.tenant_access import TenantAccess

if TYPE_CHECKING:
    from django.contrib.admin import RelatedFieldListFilter as AutocompleteSelectFilter
else:
    from unfold.contrib.filters.admin import AutocompleteSelectFilter


class RelatedRowFilter(AutocompleteSelectFilter):
    """Filter by a related row, with search. It names only rows that the user may see, whatever the query."""

    @override
    def choices(self, changelist: Any) -> Iterator[Any]:
        """Yield the form, whose field knows only the rows that the user may see."""
        filter_: Any = self
        page = filter_.model_admin.admin_site._registry.get(filter_.field.remote_field.model)
        choice: Any
        for choice in super().choices(changelist):
            if isinstance(page, TenantAccess):
                field = choice["form"].fields[filter_.lookup_kwarg]
                field.queryset = page.scoped(filter_.request, field.queryset.all(), ALL_ROLES)
            yield choice
