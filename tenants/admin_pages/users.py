"""Admin pages of users, in Unfold's style and with an audit trail."""

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

# Only django-stubs' version of the class is generic.
if TYPE_CHECKING:
    BaseUserAdmin = DjangoUserAdmin[User]
else:
    BaseUserAdmin = DjangoUserAdmin


def _values(user: User) -> dict[str, object]:
    permissions = user.user_permissions.values_list("content_type__app_label", "codename")
    return {
        "username": user.username,
        "email": user.email,
        "active": user.is_active,
        "staff": user.is_staff,
        "superuser": user.is_superuser,
        "permissions": sorted(f"{label}.{codename}" for label, codename in permissions),
    }


class UserForm(UserChangeForm):  # type: ignore[misc]  # the package is untyped
    """A user form with a searchable list of permissions."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        permissions = self.fields.get("user_permissions")
        if permissions is not None:
            permissions.widget = UnfoldAdminSelect2MultipleWidget(choices=permissions.choices)
            permissions.help_text = _("Permissions of this user in the admin.")


class UserAdmin(BaseUserAdmin, AuditedAdmin[User]):
    """Users: deactivated but never deleted, because the audit trail names them."""

    audit_kind = "user"
    list_display = ("username", "email", "is_active", "is_staff", "is_superuser", "last_login")
    form = UserForm
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
        """Save permissions, then audit the change in the form's transaction."""
        before = form.initial.get("audited_values")
        super().save_related(request, form, formsets, change)
        self._record(request, form.instance, "user.update" if change else "user.create", before)

    def save_model(self, request: HttpRequest, obj: User, form: ModelForm[User], change: bool) -> None:
        """Keep the old values for the audit, then save."""
        if change:
            form.initial["audited_values"] = _values(User.objects.get(pk=obj.pk))
        super().save_model(request, obj, form, change)

    @transaction.atomic
    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:  # noqa: A002 - Django's name
        """Set a password and audit the event, not the password."""
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
        after = _values(user)
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
        return False
