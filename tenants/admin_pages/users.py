"""Admin pages of people, in Unfold's dress and with their changes in the audit trail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import User
from django.db import transaction
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _
from typing_extensions import override
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminSelect2MultipleWidget

from backoffice.admin_base import AuditedAdmin, actor_of
from tenants.admin_audit import admin_audit_record

# Only the type checker's version is generic.
if TYPE_CHECKING:
    UserAdmin = DjangoUserAdmin[User]
else:
    UserAdmin = DjangoUserAdmin


def _facts(user: User) -> dict[str, object]:
    permissions = user.user_permissions.values_list("content_type__app_label", "codename")
    return {
        "username": user.username,
        "email": user.email,
        "active": user.is_active,
        "staff": user.is_staff,
        "superuser": user.is_superuser,
        "permissions": sorted(f"{label}.{codename}" for label, codename in permissions),
    }


class PersonForm(UserChangeForm):  # type: ignore[misc]  # the package is untyped
    """A person, with permissions in a list that can be searched."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        permissions = self.fields.get("user_permissions")
        if permissions is not None:
            permissions.widget = UnfoldAdminSelect2MultipleWidget(choices=permissions.choices)
            permissions.help_text = _("What the person may do in this administration.")


class PersonAdmin(UserAdmin, AuditedAdmin[User]):
    """People; they are made inactive, never deleted, so that the trail keeps its names."""

    audit_kind = "user"
    list_display = ("username", "email", "is_active", "is_staff", "is_superuser", "last_login")
    form = PersonForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_filter = ("is_staff", "is_superuser", "is_active")
    filter_horizontal = ()
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        (_("Personal info"), {"fields": ("first_name", "last_name", "email")}),
        (_("Permissions"), {"fields": ("is_active", "is_staff", "is_superuser", "user_permissions")}),
        (_("Important dates"), {"fields": ("last_login", "date_joined")}),
    )

    def save_related(self, request: HttpRequest, form: ModelForm[User], formsets: Any, change: bool) -> None:
        """Save permissions too, then record what has changed: all in the form's transaction."""
        before = form.initial.get("audited_facts")
        super().save_related(request, form, formsets, change)
        self._record(request, form.instance, "user.update" if change else "user.create", before)

    def save_model(self, request: HttpRequest, obj: User, form: ModelForm[User], change: bool) -> None:
        """Note the state before, then save."""
        if change:
            form.initial["audited_facts"] = _facts(User.objects.get(pk=obj.pk))
        super().save_model(request, obj, form, change)

    @transaction.atomic
    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:  # noqa: A002 - Django's name
        """Set a password; that it was set is recorded."""
        response = super().user_change_password(request, id, form_url)
        user = self.get_object(request, id)
        if request.method == "POST" and response.status_code == 302 and user is not None:
            admin_audit_record(
                actor=actor_of(request.user),
                action="user.password",
                object_id=str(user.pk),
                object_name=user.username,
            )
        return response

    def _record(
        self, request: HttpRequest, user: User, action: str, before: dict[str, object] | None
    ) -> None:
        after = _facts(user)
        if after != before:
            admin_audit_record(
                actor=actor_of(request.user),
                action=action,
                object_id=str(user.pk),
                object_name=user.username,
                before=before,
                after=after,
            )

    @override
    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never."""
        return False
