"""``manage.py keys``: list, create, revoke and rotate API keys."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

from django.core.management.base import CommandParser
from django.utils import timezone

from backoffice.command_base import Handler, Options, SubcommandsCommand, command_actor
from tenants import selectors, services
from tenants.choices import Scope
from tenants.management.arguments import days
from tenants.management.lookup import key_by_prefix, tenant_by_name, tenant_filter
from tenants.models import ApiKey

DEFAULT_GRACE_S = 24 * 3600


def _row(key: ApiKey) -> dict[str, object]:
    return {
        "prefix": key.prefix,
        "name": key.name,
        "tenant": key.tenant.slug,
        "state": selectors.key_state(key, timezone.now()),
        "scopes": list(key.scopes),
        "expires_at": key.expires_at,
        "last_used_at": key.last_used_at,
    }


def _utc(at: dt.datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S %Z}"


def _expiry(options: Options) -> dt.datetime | None:
    lifetime_days = options["days"]
    return None if lifetime_days is None else timezone.now() + dt.timedelta(days=lifetime_days)


class Command(SubcommandsCommand):
    """List, create, revoke and rotate API keys."""

    help = "List, create, revoke and rotate API keys. A secret is printed only when its key is created."

    def subcommands(self, add: Callable[[str, Handler, str], CommandParser]) -> None:
        """Declare list, create, revoke and rotate."""
        listing = add("list", self._list, "list keys without their secrets")
        listing.add_argument("--tenant", metavar="SLUG", help="only this tenant's keys")
        self._create_arguments(add("create", self._create, "create a key and print its secret once"))
        revoke = add("revoke", self._revoke, "revoke a key immediately")
        revoke.add_argument("prefix", help="the key's PREFIX in `keys list`, or the whole key")
        self._rotate_arguments(
            add("rotate", self._rotate, "create a successor; the old key stays valid for a grace period")
        )

    def _create_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", metavar="SLUG", required=True)
        parser.add_argument("--name", required=True, help="purpose of the key")
        parser.add_argument(
            "--scope",
            action="append",
            choices=Scope.values,
            help="can be repeated; default: " + ", ".join(services.DEFAULT_SCOPES),
        )
        parser.add_argument(
            "--days", type=days, metavar="DAYS", help="lifetime in days; default: the key never expires"
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
        keys = selectors.keys(tenant=tenant_filter(options["tenant"]))
        self.show([_row(key) for key in keys], options, nothing="No keys.")

    def _create(self, options: Options) -> None:
        key, secret = services.key_create(
            tenant=tenant_by_name(options["tenant"]),
            name=options["name"],
            scopes=options["scope"] or services.DEFAULT_SCOPES,
            expires_at=_expiry(options),
            actor=command_actor(),
        )
        self._show_secret(key, secret, options)

    def _revoke(self, options: Options) -> None:
        key = services.key_revoke(key_id=key_by_prefix(options["prefix"]).id, actor=command_actor())
        self.show_one(_row(key), options, f"Key {key.prefix} is revoked.")

    def _rotate(self, options: Options) -> None:
        old = key_by_prefix(options["prefix"])
        key, secret = services.key_rotate(
            key_id=old.id, grace_s=options["grace_s"], actor=command_actor(), expires_at=_expiry(options)
        )
        old.refresh_from_db(fields=["expires_at"])
        self._show_secret(key, secret, options, replaced=old)

    def _show_secret(
        self, key: ApiKey, secret: str, options: Options, replaced: ApiKey | None = None
    ) -> None:
        row = _row(key) | {"secret": secret}
        text = f"Key {key.prefix} for {key.tenant.slug}. Its secret is shown only once:\n\n  {secret}\n"
        text += f"\nIt is valid until {_utc(key.expires_at)}." if key.expires_at else "\nIt never expires."
        if replaced is not None and replaced.expires_at is not None:
            row["replaces"] = {"prefix": replaced.prefix, "expires_at": replaced.expires_at}
            text += f"\nKey {replaced.prefix} stays valid until {_utc(replaced.expires_at)}."
        self.show_one(row, options, text)
