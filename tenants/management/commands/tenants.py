"""``manage.py tenants``: list, create and change tenants and their members."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from backoffice.command_base import Handler, Options, SubcommandsCommand, command_actor
from tenants import selectors, services
from tenants.choices import Role, Tier
from tenants.limits.texts import limit_texts
from tenants.management.limit_options import limit_arguments, limit_row, none_or, settings_of, whole_number
from tenants.management.lookup import service_account_by_name, tenant_by_name, user_by_name
from tenants.members import selectors as member_selectors
from tenants.members import services as member_services
from tenants.models import Membership, Tenant

if TYPE_CHECKING:
    from tenants.services import TenantChanges


SETTINGS = ("tier", "stored_bytes", "audit_keep_days")


def _details(tenant: Tenant) -> dict[str, object]:
    """Return all settings, for JSON."""
    own: dict[str, object] = {name: getattr(tenant, name) for name in SETTINGS}
    return _row(tenant) | limit_row(tenant.limits()) | own


def _settings_arguments(parser: CommandParser) -> None:
    limit_arguments(parser, removal="then the platform's CYLLM_DEFAULT_* limit applies, if it is set")
    parser.add_argument("--tier", choices=Tier.values, help="highest priority at a busy engine")
    parser.add_argument(
        "--stored-bytes",
        type=none_or(whole_number),
        metavar="BYTES",
        help="of all its files, or none to apply the platform's CYLLM_TENANT_FILE_BYTES",
    )
    parser.add_argument(
        "--audit-keep-days",
        type=none_or(whole_number),
        metavar="DAYS",
        help="days to keep audit records, or none to apply the platform's CYLLM_AUDIT_RETENTION_DAYS",
    )


def _row(tenant: Tenant) -> dict[str, object]:
    return {
        "slug": tenant.slug,
        "name": tenant.name,
        "active": tenant.active,
        "tier": tenant.tier,
        "limits": limit_texts(tenant.limits()),
        "created_at": tenant.created_at,
        "id": tenant.id,
    }


class Command(SubcommandsCommand):
    """List, create and change tenants and their members."""

    help = "List, create and change tenants and their members."
    example_arguments = {
        "create": ('acme --name "Acme Ltd"',),
        "show": ("acme",),
        "update": ("acme --requests-per-minute 600",),
        "members": (
            "acme",
            "acme --set alice admin",
        ),
        "accounts": ("acme --add nightly-reports",),
    }

    def subcommands(self, add: Callable[[str, Handler, str], CommandParser]) -> None:
        """Declare list, create, show, update, members and accounts."""
        add("list", self._list, "list all tenants")
        create = add("create", self._create, "create a tenant")
        create.add_argument("slug", help="short name: lower-case letters, digits and inner hyphens")
        create.add_argument("--name", help="full name; default: the short name")
        _settings_arguments(create)
        show = add("show", self._show, "show a tenant with its settings")
        show.add_argument("slug")
        self._update_arguments(add("update", self._update, "change a tenant"))
        self._members_arguments(add("members", self._members, "list the members, or change one"))
        self._accounts_arguments(add("accounts", self._accounts, "list the service accounts, or change one"))

    def _update_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug")
        parser.add_argument("--name", help="new full name")
        parser.add_argument("--slug", dest="new_slug", help="new short name")
        _settings_arguments(parser)
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

    def _accounts_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug")
        change = parser.add_mutually_exclusive_group()
        change.add_argument("--add", metavar="NAME", help="create a service account")
        change.add_argument("--remove", metavar="NAME", help="revoke its keys and delete it")

    def _list(self, options: Options) -> None:
        tenants = selectors.tenants_with_counts(timezone.now()).order_by("slug")
        rows = [_row(tenant) | {"keys": tenant.key_count} for tenant in tenants]
        self.show(rows, options, nothing="No tenants yet. Create one with `manage.py tenants create`.")

    def _create(self, options: Options) -> None:
        name = options["name"] or options["slug"]
        settings = settings_of(options, *SETTINGS)
        tenant = services.tenant_create(slug=options["slug"], name=name, actor=command_actor(), **settings)
        self.show_one(_details(tenant), options, f"Tenant {tenant.slug} created.")

    def _update(self, options: Options) -> None:
        changes: TenantChanges = {**settings_of(options, *SETTINGS)}  # type: ignore[typeddict-item]
        if options["name"] is not None:
            changes["name"] = options["name"]
        if options["new_slug"] is not None:
            changes["slug"] = options["new_slug"]
        if options["active"] is not None:
            changes["active"] = options["active"]
        if not changes:
            raise CommandError(
                "Nothing to change. Pass --name, --slug, --active, --inactive, --tier, --stored-bytes, "
                "--audit-keep-days or a limit."
            )
        tenant = tenant_by_name(options["slug"])
        tenant = services.tenant_update(tenant_id=tenant.id, actor=command_actor(), **changes)
        self.show_one(_details(tenant), options, f"Tenant {tenant.slug} updated.")

    def _show(self, options: Options) -> None:
        details = _details(tenant_by_name(options["slug"]))
        if options["json"]:
            self.show_one(details, options, "")
        else:
            self.show([{"setting": name, "value": value} for name, value in details.items()], options)

    def _members(self, options: Options) -> None:
        tenant = tenant_by_name(options["slug"])
        if options["set"]:
            username, role = options["set"]
            user = user_by_name(username)
            member_services.membership_set(tenant=tenant, user=user, role=role, actor=command_actor())
        if options["remove"]:
            self._remove(tenant, options["remove"])
        rows = [
            {"user": member.user.get_username(), "role": member.role, "since": member.created_at}
            for member in member_selectors.memberships(tenant=tenant)
        ]
        self.show(rows, options, nothing=f"Tenant {tenant.slug} has no members.")

    def _remove(self, tenant: Tenant, username: str) -> None:
        try:
            member_services.membership_remove(
                tenant=tenant, user=user_by_name(username), actor=command_actor()
            )
        except Membership.DoesNotExist as error:
            raise CommandError(f"{username} is not a member of {tenant.slug}.") from error

    def _accounts(self, options: Options) -> None:
        tenant = tenant_by_name(options["slug"])
        if options["add"]:
            member_services.service_account_create(tenant=tenant, name=options["add"], actor=command_actor())
        if options["remove"]:
            account = service_account_by_name(tenant, options["remove"])
            member_services.service_account_delete(account_id=account.pk, actor=command_actor())
        rows = [
            {"name": account.name, "since": account.created_at}
            for account in member_selectors.service_accounts(tenant=tenant)
        ]
        self.show(rows, options, nothing=f"Tenant {tenant.slug} has no service accounts.")
