"""What admin pages share: Unfold's base, changes through services, records that are only read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

from django.contrib import messages
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ValidationError
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from typing_extensions import override
from unfold.decorators import action

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


def page_action(path: str, description: StrOrPromise, icon: str) -> Callable[[F], F]:
    """A button on an object's page that leads to ``path`` below it; for those who may change the object."""
    decorator = action(description=description, url_path=path, permissions=["change"], icon=icon)
    return cast("Callable[[F], F]", decorator)


def actor_of(user: User | AnonymousUser) -> str:
    """How a signed-in person is named as the one who made a change."""
    return f"user:{user.get_username()}"


class ServiceAdmin(PageAdmin[M]):
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
