"""``manage.py keys``: list, create, revoke and rotate API keys."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

from django.core.management.base import CommandParser
from django.utils import timezone

from backoffice.command_base import Handler, Options, SubcommandsCommand, command_actor
from tenants import selectors, services
from tenants.choices import Scope
from tenants.management.amounts import days
from tenants.management.lookup import key_named, tenant_filter, tenant_named
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


def _moment(at: dt.datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S %Z}"


def _expiry(options: Options) -> dt.datetime | None:
    span = options["days"]
    return None if span is None else timezone.now() + dt.timedelta(days=span)


class Command(SubcommandsCommand):
    """List, create, revoke and rotate API keys."""

    help = "List, create, revoke and rotate API keys. A secret is printed once, when its key is made."

    def subcommands(self, add: Callable[[str, Handler, str], CommandParser]) -> None:
        """Declare list, create, revoke and rotate."""
        listing = add("list", self._list, "show keys; never their secrets")
        listing.add_argument("--tenant", metavar="SLUG", help="only this tenant's")
        create = add("create", self._create, "make a key and print its secret, this once")
        create.add_argument("--tenant", metavar="SLUG", required=True)
        create.add_argument("--name", required=True, help="what the key is for")
        create.add_argument(
            "--scope",
            action="append",
            choices=Scope.values,
            help="may be repeated; default: " + ", ".join(services.DEFAULT_SCOPES),
        )
        create.add_argument("--days", type=days, help="valid for so many days; default: for ever")
        revoke = add("revoke", self._revoke, "end a key at once")
        revoke.add_argument("prefix", help="the part after sk-cy-")
        rotate = add("rotate", self._rotate, "make a successor; the old key lives on for the grace time")
        rotate.add_argument("prefix", help="the part after sk-cy-")
        rotate.add_argument(
            "--grace-s", type=float, default=DEFAULT_GRACE_S, help="seconds; default: %(default)s (a day)"
        )
        rotate.add_argument(
            "--days", type=days, help="the new key is valid for so many days; default: as long as the old one"
        )

    def _list(self, options: Options) -> None:
        found = selectors.keys(tenant=tenant_filter(options["tenant"]))
        self.show([_row(key) for key in found], options, nothing="No keys.")

    def _create(self, options: Options) -> None:
        key, secret = services.key_create(
            tenant=tenant_named(options["tenant"]),
            name=options["name"],
            scopes=options["scope"] or services.DEFAULT_SCOPES,
            expires_at=_expiry(options),
            actor=command_actor(),
        )
        self._show_secret(key, secret, options)

    def _revoke(self, options: Options) -> None:
        key = services.key_revoke(key_id=key_named(options["prefix"]).id, actor=command_actor())
        self.show_one(_row(key), options, f"Key {key.prefix} is revoked.")

    def _rotate(self, options: Options) -> None:
        old = key_named(options["prefix"])
        key, secret = services.key_rotate(
            key_id=old.id, grace_s=options["grace_s"], actor=command_actor(), expires_at=_expiry(options)
        )
        old.refresh_from_db(fields=["expires_at"])
        self._show_secret(key, secret, options, replaced=old)

    def _show_secret(
        self, key: ApiKey, secret: str, options: Options, replaced: ApiKey | None = None
    ) -> None:
        row = _row(key) | {"secret": secret}
        text = f"Key {key.prefix} for {key.tenant.slug}. Its secret is shown this once:\n\n  {secret}\n"
        text += f"\nIt is valid until {_moment(key.expires_at)}." if key.expires_at else "\nIt never expires."
        if replaced is not None and replaced.expires_at is not None:
            row["replaces"] = {"prefix": replaced.prefix, "expires_at": replaced.expires_at}
            text += f"\nKey {replaced.prefix} stays valid until {_moment(replaced.expires_at)}."
        self.show_one(row, options, text)
