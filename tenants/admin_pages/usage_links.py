"""Buttons on the pages of tenants and keys that lead to their usage."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, TypeVar, cast
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from unfold.decorators import action

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

F = TypeVar("F", bound=Callable[..., HttpResponse])


def _usage_button(path: str, description: StrOrPromise, icon: str) -> Callable[[F], F]:
    decorator = action(description=description, url_path=path, permissions=["view_usage"], icon=icon)
    return cast("Callable[[F], F]", decorator)


class UsageLinks:
    """Buttons for users who may view usage records. ``usage_field``: the column that refers to the object."""

    usage_field: ClassVar[str]

    def has_view_usage_permission(self, request: HttpRequest, _object_id: object = None) -> bool:
        """Return whether the user may view usage records."""
        return request.user.has_perm("tenants.view_usagerecord")

    @_usage_button("usage", _("Usage"), icon="bar_chart")
    def usage(self, request: HttpRequest, object_id: str) -> HttpResponse:  # noqa: ARG002 - Unfold passes it
        """Redirect to the sums of the object's usage."""
        query = {"by": "model", self.usage_field: object_id}
        return HttpResponseRedirect(f"{reverse('admin:tenants_usagerecord_sums')}?{urlencode(query)}")

    @_usage_button("requests", _("Requests"), icon="list")
    def usage_records(self, request: HttpRequest, object_id: str) -> HttpResponse:  # noqa: ARG002
        """Redirect to the object's usage records."""
        query = {f"{self.usage_field}__id__exact": object_id}
        return HttpResponseRedirect(f"{reverse('admin:tenants_usagerecord_changelist')}?{urlencode(query)}")
