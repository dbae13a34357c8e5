"""What admin pages share: Unfold's base, changes through services, records that are only read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ValidationError
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from typing_extensions import override
from unfold.decorators import action, display

# Only the type checker's versions of these are generic.
if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin
    from django.forms import ModelForm
    from django_stubs_ext import StrOrPromise

    PageAdmin = ModelAdmin
    PageForm = ModelForm
else:
    from django.forms import ModelForm
    from unfold.admin import ModelAdmin

    class PageAdmin(ModelAdmin):
        """Unfold's admin page of a model."""

        def __class_getitem__(cls, model: object) -> type:
            return cls

    class PageForm(ModelForm):
        """A form of a model."""

        def __class_getitem__(cls, model: object) -> type:
            return cls


M = TypeVar("M", bound=Model)
F = TypeVar("F", bound=Callable[..., HttpResponse])
C = TypeVar("C", bound=Callable[..., "tuple[str, StrOrPromise]"])


def page_action(path: str, description: StrOrPromise, icon: str) -> Callable[[F], F]:
    """A button on an object's page that leads to ``path`` below it; for those who may change the object."""
    decorator = action(description=description, url_path=path, permissions=["change"], icon=icon)
    return cast("Callable[[F], F]", decorator)


def label_column(
    description: StrOrPromise, colours: Mapping[str, str], ordering: str | None = None
) -> Callable[[C], C]:
    """A column of labels: the function returns a value, which has its colour here, and the text to show."""
    decorator = display(description=description, label=dict(colours), ordering=ordering)
    return cast("Callable[[C], C]", decorator)


def actor_of(user: User | AnonymousUser) -> str:
    """How a signed-in person is named as the one who made a change."""
    return f"user:{user.get_username()}"


class AuditedAdmin(PageAdmin[M]):
    """Pages of objects whose history is in the administrative audit trail.

    ``audit_kind`` is what their actions begin with: ``key`` of ``key.revoke``. The trail is in a room that
    this one may not import; the setting ``ADMIN_AUDIT_PAGE`` names its list.
    """

    audit_kind: ClassVar[str]

    @override
    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The trail's rows about this object: they tell more than Django's own log, and none are missing."""
        about = {"object_id__exact": object_id, "action__startswith": f"{self.audit_kind}."}
        return HttpResponseRedirect(f"{reverse(settings.ADMIN_AUDIT_PAGE)}?{urlencode(about)}")


class ServiceAdmin(AuditedAdmin[M]):
    """Pages whose changes are made by services: what a service refuses is shown, and nothing is changed."""

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        """Show or handle the form; its transaction is rolled back where a service refuses."""
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except ValidationError as error:
            return self.refused(request, error)

    def refused(self, request: HttpRequest, error: ValidationError) -> HttpResponse:
        """Back to the form, with what the service said."""
        for message in error.messages:
            messages.error(request, message)
        return HttpResponseRedirect(request.get_full_path())

    @override
    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nothing is deleted unless a page says how."""
        return False


class ReadOnlyAdmin(PageAdmin[M]):
    """Pages on which records are looked at."""

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        """Show the record; it has no history, because it is never changed by hand."""
        return super().changeform_view(
            request, object_id, form_url, {"show_history": False, **(extra_context or {})}
        )

    @override
    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never."""
        return False

    @override
    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never."""
        return False

    @override
    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never."""
        return False
