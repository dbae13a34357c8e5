"""``manage.py quotas``: use and limits of tenants and keys, and rebuilding of their counters."""

from __future__ import annotations

from collections.abc import Callable

import redis
from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from backoffice.command_base import Handler, Options, SubcommandsCommand
from backoffice.display.money import dollars
from tenants.management.lookup import tenant_by_name, tenant_filter
from tenants.models import Tenant
from tenants.quotas.amounts import SPEND
from tenants.quotas.rebuild import counters_rebuild
from tenants.quotas.report import QuotaLine, quota_lines, tenant_or_all
from tenants.quotas.texts import NAMES

FORCED_TIMEOUT_S = 30.0


def _row(tenant: Tenant, line: QuotaLine) -> dict[str, object]:
    def amount(value: int | None) -> object:
        return f"${dollars(value)}" if line.limit in SPEND and value is not None else value

    return {
        "tenant": tenant.slug,
        "holder": line.holder,
        "limit": NAMES[line.limit],
        "value": amount(line.value),
        "used": amount(line.use),
        "remaining": amount(line.remaining),
        "reserved": amount(line.reserved_amount),
        "ledger": amount(line.ledger),
        "resets_in_s": line.resets_in_s,
    }


def _all_values(tenant: Tenant, line: QuotaLine) -> dict[str, object]:
    """Return the same in whole numbers, spend in micro-dollars."""
    return {
        "tenant": tenant.slug,
        "holder": line.holder,
        "limit": line.limit.name.lower(),
        "value": line.value,
        "used": line.use,
        "remaining": line.remaining,
        "reserved": line.reserved_amount,
        "ledger": line.ledger,
        "resets_in_s": line.resets_in_s,
    }


class Command(SubcommandsCommand):
    """Show and rebuild quotas."""

    help = "Show the use of limits, in Redis and in the ledger, and rebuild the counters in Redis."
    example_arguments = {
        "show": (
            "--tenant acme",
            "--all",
        ),
        "rebuild": ("--tenant acme",),
    }

    def subcommands(self, add: Callable[[str, Handler, str], CommandParser]) -> None:
        """Declare show and rebuild."""
        show = add("show", self._show, "show use, limits, reservations and resets of a tenant or of all")
        show.add_argument("--tenant", metavar="SLUG")
        show.add_argument("--all", action="store_true", help="limits that are not set, too")
        rebuild = add("rebuild", self._rebuild, "rebuild a tenant's counters in Redis from the ledger")
        rebuild.add_argument("--tenant", metavar="SLUG", required=True)

    def _show(self, options: Options) -> None:
        convert = _all_values if options["json"] else _row
        try:
            rows = [
                convert(tenant, line)
                for tenant in tenant_or_all(tenant_filter(options["tenant"]))
                for line in quota_lines(_client(), tenant, settings.CYLLM)
                if options["all"] or line.value is not None or (line.use and line.holder == "tenant")
            ]
        except redis.RedisError as error:
            raise _unavailable(error) from None
        self.show(rows, options)

    def _rebuild(self, options: Options) -> None:
        tenant = tenant_by_name(options["tenant"])
        try:
            counters_rebuild(_client(), str(tenant.id), is_forced=True, timeout_s=FORCED_TIMEOUT_S)
        except redis.RedisError as error:
            raise _unavailable(error) from None
        text = f"Rebuilt the counters of {tenant.slug} from the ledger."
        self.show_one({"tenant": tenant.slug, "is_rebuilt": True}, options, text)


def _client() -> redis.Redis:
    return redis.Redis.from_url(settings.CYLLM.redis_url, socket_timeout=5.0, socket_connect_timeout=2.0)


def _unavailable(error: redis.RedisError) -> CommandError:
    return CommandError(f"Redis is unavailable ({type(error).__name__}). Check CYLLM_REDIS_URL.")
