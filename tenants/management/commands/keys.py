"""``manage.py keys``: list, create, revoke and rotate API keys."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from backoffice.command_base import Handler, Options, SubcommandsCommand, command_actor
from backoffice.display.times import exact_time
from tenants.choices import Scope
from tenants.keys import selectors as key_selectors
from tenants.keys import services as key_services
from tenants.limits.texts import limit_texts
from tenants.management.arguments import days
from tenants.management.limit_options import NONE, limit_arguments, limit_row, list_of, none_or, settings_of
from tenants.management.lookup import (
    key_by_prefix,
    service_account_by_name,
    tenant_by_name,
    tenant_filter,
    user_by_name,
)
from tenants.models import ApiKey

DEFAULT_GRACE_S = 24 * 3600


def _details(key: ApiKey) -> dict[str, object]:
    """Return all settings, for JSON."""
    return _row(key) | limit_row(key.limits())


def _row(key: ApiKey) -> dict[str, object]:
    return {
        "prefix": key.prefix,
        "name": key.name,
        "tenant": key.tenant.slug,
        "holder": key.holder_name,
        "state": key_selectors.key_state(key, timezone.now()),
        "scopes": list(key.scopes),
        "limits": limit_texts(key.limits()),
        "allowed_networks": list(key.allowed_networks),
        "expires_at": key.expires_at,
        "last_used_at": key.last_used_at,
        "last_refused_at": key.last_refused_at,
    }


def _expiry(options: Options) -> dt.datetime | None:
    lifetime_days = options["days"]
    return None if lifetime_days is None else timezone.now() + dt.timedelta(days=lifetime_days)


class Command(SubcommandsCommand):
    """List, create, revoke and rotate API keys."""

    help = "List, create, revoke and rotate API keys. A secret is printed only when its key is created."
    example_arguments = {
        "list": ("--tenant acme",),
        "create": ("--tenant acme --name ci --days 90",),
        "update": ("3nQv8ZtYb2Lx --requests-per-minute 60",),
        "revoke": ("3nQv8ZtYb2Lx",),
        "rotate": ("3nQv8ZtYb2Lx --grace-s 3600",),
    }

    def subcommands(self, add: Callable[[str, Handler, str], CommandParser]) -> None:
        """Declare list, create, update, revoke and rotate."""
        listing = add("list", self._list, "list keys without their secrets")
        listing.add_argument("--tenant", metavar="SLUG", help="only this tenant's keys")
        self._create_arguments(add("create", self._create, "create a key and print its secret once"))
        self._update_arguments(add("update", self._update, "change a key"))
        revoke = add("revoke", self._revoke, "revoke a key immediately")
        revoke.add_argument("prefix", help="the key's PREFIX in `keys list`, or the whole key")
        self._rotate_arguments(
            add("rotate", self._rotate, "create a successor; the old key stays valid for a grace period")
        )

    def _create_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", metavar="SLUG", required=True)
        parser.add_argument("--name", required=True, help="purpose of the key")
        holder = parser.add_mutually_exclusive_group()
        holder.add_argument("--user", help="the member to whom it belongs; it ends with the membership")
        holder.add_argument("--service-account", metavar="NAME", help="the program to which it belongs")
        default = "default: " + ", ".join(key_services.DEFAULT_SCOPES)
        self._settings_arguments(parser, f"can be repeated; {default}")
        parser.add_argument(
            "--days", type=days, metavar="DAYS", help="lifetime in days; default: the key never expires"
        )

    def _settings_arguments(self, parser: CommandParser, scopes_help: str) -> None:
        parser.add_argument("--scope", action="append", choices=Scope.values, help=scopes_help)
        parser.add_argument(
            "--network",
            dest="allowed_networks",
            action="append",
            metavar="NETWORK",
            help="such as 192.0.2.0/24; can be repeated; all networks of its clients, replacing the existing "
            "ones, or none to allow every address",
        )
        limit_arguments(parser, removal="then only the tenant's limit applies")

    def _update_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("prefix", help="the key's PREFIX in `keys list`, or the whole key")
        parser.add_argument("--name", help="new purpose of the key")
        self._settings_arguments(parser, "can be repeated; all scopes, replacing the existing ones")
        parser.add_argument(
            "--days",
            type=none_or(days),
            metavar="DAYS",
            help="new lifetime from now, or none to remove the expiry",
        )

    def _rotate_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("prefix", help="the key's PREFIX in `keys list`, or the whole key")
        parser.add_argument(
            "--grace-s",
            type=float,
            default=DEFAULT_GRACE_S,
            metavar="SECONDS",
            help="grace period in seconds; default: %(default)s (one day)",
        )
        parser.add_argument(
            "--days", type=days, metavar="DAYS", help="lifetime of the new key; default: the old key's expiry"
        )

    def _list(self, options: Options) -> None:
        keys = key_selectors.keys(tenant=tenant_filter(options["tenant"]))
        self.show([_row(key) for key in keys], options, nothing="No keys.")

    def _create(self, options: Options) -> None:
        tenant = tenant_by_name(options["tenant"])
        account = options["service_account"]
        key, secret = key_services.key_create(
            tenant=tenant,
            user=user_by_name(options["user"]) if options["user"] else None,
            service_account=service_account_by_name(tenant, account) if account else None,
            name=options["name"],
            scopes=options["scope"] or key_services.DEFAULT_SCOPES,
            expires_at=_expiry(options),
            actor=command_actor(),
            **settings_of(options),
            **list_of(options, "allowed_networks"),
        )
        self._show_secret(key, secret, options)

    def _update(self, options: Options) -> None:
        changes: dict[str, Any] = settings_of(options) | list_of(options, "allowed_networks")
        if options["name"] is not None:
            changes["name"] = options["name"]
        if options["scope"] is not None:
            changes["scopes"] = options["scope"]
        if options["days"] is not None:
            changes["expires_at"] = None if options["days"] == NONE else _expiry(options)
        if not changes:
            raise CommandError("Nothing to change. Pass --name, --scope, --network, --days or a limit.")
        key_id = key_by_prefix(options["prefix"]).id
        key = key_services.key_update(key_id=key_id, actor=command_actor(), **changes)
        self.show_one(_details(key), options, f"Key {key.prefix} updated.")

    def _revoke(self, options: Options) -> None:
        key = key_services.key_revoke(key_id=key_by_prefix(options["prefix"]).id, actor=command_actor())
        self.show_one(_row(key), options, f"Key {key.prefix} is revoked.")

    def _rotate(self, options: Options) -> None:
        old = key_by_prefix(options["prefix"])
        key, secret = key_services.key_rotate(
            key_id=old.id, grace_s=options["grace_s"], actor=command_actor(), expires_at=_expiry(options)
        )
        old.refresh_from_db(fields=["expires_at"])
        self._show_secret(key, secret, options, predecessor=old)

    def _show_secret(
        self, key: ApiKey, secret: str, options: Options, predecessor: ApiKey | None = None
    ) -> None:
        row = _details(key) | {"secret": secret}
        text = f"Key {key.prefix} for {key.tenant.slug}. Its secret is shown only once:\n\n  {secret}\n"
        text += (
            f"\nIt is valid until {exact_time(key.expires_at)}." if key.expires_at else "\nIt never expires."
        )
        if predecessor is not None and predecessor.expires_at is not None:
            row["replaces"] = {"prefix": predecessor.prefix, "expires_at": predecessor.expires_at}
            text += f"\nKey {predecessor.prefix} stays valid until {exact_time(predecessor.expires_at)}."
        self.show_one(row, options, text)
