"""``manage.py tenants``: list, create and change tenants and their members."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from backoffice.command_base import Handler, Options, SubcommandsCommand, command_actor
from tenants import selectors, services
from tenants.choices import Role
from tenants.management.lookup import tenant_by_name, user_by_name
from tenants.models import Membership, Tenant

if TYPE_CHECKING:
    from tenants.services import TenantChanges


def _row(tenant: Tenant) -> dict[str, object]:
    return {
        "slug": tenant.slug,
        "name": tenant.name,
        "active": tenant.active,
        "created_at": tenant.created_at,
        "id": tenant.id,
    }


class Command(SubcommandsCommand):
    """List, create and change tenants and their members."""

    help = "List, create and change tenants and their members."

    def subcommands(self, add: Callable[[str, Handler, str], CommandParser]) -> None:
        """Declare list, create, update and members."""
        add("list", self._list, "list all tenants")
        create = add("create", self._create, "create a tenant")
        create.add_argument("slug", help="short name: lower-case letters, digits and inner hyphens")
        create.add_argument("--name", help="full name; default: the short name")
        self._update_arguments(add("update", self._update, "change a tenant"))
        self._members_arguments(add("members", self._members, "list the members, or change one"))

    def _update_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug")
        parser.add_argument("--name", help="new full name")
        parser.add_argument("--slug", dest="new_slug", help="new short name")
        state = parser.add_mutually_exclusive_group()
        state.add_argument("--active", action="store_const", const=True, dest="active")
        state.add_argument(
            "--inactive", action="store_const", const=False, dest="active", help="disable all its keys"
        )

    def _members_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug")
        change = parser.add_mutually_exclusive_group()
        change.add_argument(
            "--set", nargs=2, metavar=("USER", "ROLE"), help="roles: " + ", ".join(Role.values)
        )
        change.add_argument("--remove", metavar="USER")

    def _list(self, options: Options) -> None:
        tenants = selectors.tenants_with_counts(timezone.now()).order_by("slug")
        rows = [_row(tenant) | {"keys": tenant.key_count} for tenant in tenants]
        self.show(rows, options, nothing="No tenants yet. Create one with `manage.py tenants create`.")

    def _create(self, options: Options) -> None:
        name = options["name"] or options["slug"]
        tenant = services.tenant_create(slug=options["slug"], name=name, actor=command_actor())
        self.show_one(_row(tenant), options, f"Tenant {tenant.slug} created.")

    def _update(self, options: Options) -> None:
        changes: TenantChanges = {}
        if options["name"] is not None:
            changes["name"] = options["name"]
        if options["new_slug"] is not None:
            changes["slug"] = options["new_slug"]
        if options["active"] is not None:
            changes["active"] = options["active"]
        if not changes:
            raise CommandError("Nothing to change. Pass --name, --slug, --active or --inactive.")
        tenant = tenant_by_name(options["slug"])
        tenant = services.tenant_update(tenant_id=tenant.id, actor=command_actor(), **changes)
        self.show_one(_row(tenant), options, f"Tenant {tenant.slug} updated.")

    def _members(self, options: Options) -> None:
        tenant = tenant_by_name(options["slug"])
        if options["set"]:
            username, role = options["set"]
            user = user_by_name(username)
            services.membership_set(tenant=tenant, user=user, role=role, actor=command_actor())
        if options["remove"]:
            self._remove(tenant, options["remove"])
        rows = [
            {"user": member.user.get_username(), "role": member.role, "since": member.created_at}
            for member in selectors.memberships(tenant=tenant)
        ]
        self.show(rows, options, nothing=f"Tenant {tenant.slug} has no members.")

    def _remove(self, tenant: Tenant, username: str) -> None:
        try:
            services.membership_remove(tenant=tenant, user=user_by_name(username), actor=command_actor())
        except Membership.DoesNotExist as error:
            raise CommandError(f"{username} is not a member of {tenant.slug}.") from error
