"""Admin pages of users, in Unfold's style and with an audit trail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import User
from django.db import transaction
from django.forms import ChoiceField, ModelForm
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _
from typing_extensions import override
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminSelect2MultipleWidget, UnfoldAdminSelectWidget

from backoffice.admin_base import ServiceAdmin, actor_of
from backoffice.unique_values import unique_values
from tenants.admin_pages.staff_presets import StaffPreset, preset_permissions
from tenants.audit_trail.changes import admin_audit_record
from tenants.members.services import operator_keys_revoke, user_keys_revoke
from tenants.models import Membership

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


GRANTING_FIELDS = ("is_staff", "is_superuser", "groups", "user_permissions", "last_login", "date_joined")


def _has_rights(user: User) -> bool:
    """Return whether the account has, or had while it was active, any right in the admin or in a tenant."""
    return (
        user.is_superuser
        or user.is_staff
        or user.user_permissions.exists()
        or user.groups.exists()
        or Membership.objects.filter(user=user).exists()
    )


class UserForm(UserChangeForm):  # type: ignore[misc]  # the package is untyped
    """A user form with a searchable list of permissions, and presets of them."""

    preset = ChoiceField(
        label=_("Preset"),
        choices=[("", _("none: the permissions selected below")), *StaffPreset.choices],
        required=False,
        widget=UnfoldAdminSelectWidget,
        help_text=_(
            "Makes the account staff and replaces its permissions. "
            "They apply to the tenants in which it has a role."
        ),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        permissions = self.fields.get("user_permissions")
        if permissions is not None:
            permissions.widget = UnfoldAdminSelect2MultipleWidget(choices=permissions.choices)
            permissions.help_text = _("Permissions of this user in the admin.")

    def clean(self) -> dict[str, Any]:
        """Apply the preset, if the person may grant permissions at all."""
        data: dict[str, Any] = super().clean() or self.cleaned_data
        if data.get("preset") and "user_permissions" in self.fields:
            data["user_permissions"] = preset_permissions(StaffPreset(data["preset"]))
            data["is_staff"] = True
        return data


class UserAdmin(BaseUserAdmin, ServiceAdmin[User]):  # type: ignore[misc]  # the stubs of Django's get_form differ
    """Users: deactivated but never deleted, because the audit trail names them."""

    audit_kind = "user"
    tenant_path = None  # accounts belong to no tenant
    list_display = ("username", "email", "is_active", "is_staff", "is_superuser", "last_login")
    form = UserForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_filter = ("is_staff", "is_superuser", "is_active")
    filter_horizontal = ()
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        (_("Personal info"), {"fields": ("first_name", "last_name", "email")}),
        (
            _("Permissions"),
            {"fields": ("is_active", "is_staff", "is_superuser", "preset", "user_permissions")},
        ),
        (_("Important dates"), {"fields": ("last_login", "date_joined")}),
    )

    def save_related(self, request: HttpRequest, form: ModelForm[User], formsets: Any, change: bool) -> None:
        """Save permissions, audit the change, and revoke the keys that the account may no longer hold."""
        before = form.initial.get("audited_values")
        super().save_related(request, form, formsets, change)
        user = form.instance
        self._record(request, user, "user.update" if change else "user.create", before)
        if not user.is_active:
            user_keys_revoke(user=user, actor=actor_of(request.user))
        elif before is not None and before["superuser"] and not user.is_superuser:
            operator_keys_revoke(user=user, actor=actor_of(request.user))

    def save_model(self, request: HttpRequest, obj: User, form: ModelForm[User], change: bool) -> None:
        """Keep the old values for the audit, then save."""
        if change:
            form.initial["audited_values"] = _values(User.objects.get(pk=obj.pk))
        with unique_values(obj):
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
    def get_fieldsets(self, request: HttpRequest, obj: User | None = None) -> Any:
        """Return the form's fields; the presets are for those who may grant permissions."""
        fieldsets = super().get_fieldsets(request, obj)
        if request.user.is_superuser:
            return fieldsets
        return [
            (title, {**options, "fields": [name for name in options["fields"] if name != "preset"]})
            for title, options in fieldsets
        ]

    @override
    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        """Return the fields that grant rights, unless a superuser asks: nobody else may grant any."""
        return () if request.user.is_superuser else GRANTING_FIELDS

    @override
    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Apply Django's permissions, but leave accounts that have rights in the admin to superusers.

        Whoever sets the password or the e-mail address of an account can use all its rights. Django passes
        the user, Unfold its id.
        """
        if obj is not None and not request.user.is_superuser:
            user = obj if isinstance(obj, User) else User.objects.filter(pk=obj).first()
            if user is not None and user != request.user and _has_rights(user):
                return False
        return super().has_change_permission(request, obj)

    @override
    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
