"""Base classes of the admin pages: Unfold's look, changes made through services, read-only records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from typing_extensions import override
from unfold.decorators import action, display

from backoffice.tenant_access import TenantAccess
from backoffice.versions import OutdatedForm, is_outdated, object_version

# Only django-stubs' versions of these classes are generic.
if TYPE_CHECKING:
    from django.forms import ModelForm
    from django_stubs_ext import StrOrPromise

    PageForm = ModelForm
else:
    from django.forms import ModelForm

    class PageForm(ModelForm):
        """A model form."""

        def __class_getitem__(cls, model: object) -> type:
            return cls


M = TypeVar("M", bound=Model)
F = TypeVar("F", bound=Callable[..., HttpResponse])
C = TypeVar("C", bound=Callable[..., "tuple[str, StrOrPromise]"])


def page_action(path: str, description: StrOrPromise, icon: str) -> Callable[[F], F]:
    """Add a button to an object's page, linked to ``path`` below it, for users who may change the object."""
    decorator = action(description=description, url_path=path, permissions=["change"], icon=icon)
    return cast("Callable[[F], F]", decorator)


def view_action(path: str, description: StrOrPromise, icon: str) -> Callable[[F], F]:
    """Add a button to a list or an object's page, linked to ``path`` below it, for all who may view it."""
    decorator = action(description=description, url_path=path, permissions=["view"], icon=icon)
    return cast("Callable[[F], F]", decorator)


def label_column(
    description: StrOrPromise, colours: Mapping[str, str], ordering: str | None = None
) -> Callable[[C], C]:
    """Show a column as coloured labels; the method returns a key of ``colours`` and the text to display."""
    decorator = display(description=description, label=dict(colours), ordering=ordering)
    return cast("Callable[[C], C]", decorator)


def actor_of(user: User | AnonymousUser) -> str:
    """Return the audit trail's name for a signed-in user."""
    return f"user:{user.get_username()}"


class AuditedAdmin(TenantAccess[M]):
    """Admin pages whose history is the administrative audit trail.

    ``audit_kind`` prefixes the audited actions: ``key`` for ``key.revoke``. This package may not import
    the trail's admin page, so the setting ``ADMIN_AUDIT_PAGE`` names it.

    A form that was opened before another change of its object is refused.
    """

    audit_kind: ClassVar[str]

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        """Show or process the form. Its object is locked from the check of the version to the commit."""
        if object_id is None:
            return super().changeform_view(request, object_id, form_url, extra_context)
        with transaction.atomic():
            if request.method == "POST":
                self.lock(unquote(object_id))
            context = {
                "version": object_version(self.audit_kind, unquote(object_id)),
                **(extra_context or {}),
            }
            return super().changeform_view(request, object_id, form_url, context)

    def lock(self, object_id: str) -> None:
        """Lock the object until the transaction ends, starting with the row that its services lock first."""
        self.model._base_manager.select_for_update(no_key=True, of=("self",)).filter(pk=object_id).first()

    @override
    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **options: Any) -> Any:
        """Return the form; one that was opened before another change of the object is not valid."""
        form: Any = super().get_form(request, obj, change=change, **options)
        if obj is None or not is_outdated(request, object_version(self.audit_kind, str(obj.pk))):
            return form
        return type(form.__name__, (OutdatedForm, form), {})

    @override
    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Redirect to the audit records of this object; Django's own log is less complete."""
        query = {"object_id__exact": object_id, "action__startswith": f"{self.audit_kind}."}
        return HttpResponseRedirect(f"{reverse(settings.ADMIN_AUDIT_PAGE)}?{urlencode(query)}")


class ServiceAdmin(AuditedAdmin[M]):
    """Admin pages that save through services and show the services' validation errors."""

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        """Show or process the form. A validation error from a service rolls back its transaction."""
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except ValidationError as error:
            return self.error_response(request, error)

    @override
    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> Any:
        """Confirm or delete. A validation error from a service rolls back its transaction."""
        try:
            return super().delete_view(request, object_id, extra_context)
        except ValidationError as error:
            return self.error_response(request, error)

    @override
    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """Show the list or run an action on it, all or nothing."""
        try:
            with transaction.atomic():
                return super().changelist_view(request, extra_context)
        except ValidationError as error:
            return self.error_response(request, error)

    def error_response(self, request: HttpRequest, error: ValidationError) -> HttpResponse:
        """Redirect to the form and show the validation errors there."""
        for message in error.messages:
            messages.error(request, message)
        return HttpResponseRedirect(request.get_full_path())

    @override
    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReadOnlyAdmin(TenantAccess[M]):
    """Admin pages of records that can be viewed but not changed."""

    @override
    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Redirect to the record itself, which has no history, because nobody edits it."""
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_change"
        return HttpResponseRedirect(reverse(name, args=[object_id]))

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        """Show the record without a history button."""
        return super().changeform_view(
            request, object_id, form_url, {"show_history": False, **(extra_context or {})}
        )

    @override
    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @override
    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @override
    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
