"""``manage.py sign_ins``: locked clients of the admin, and their release."""

from __future__ import annotations

import datetime as dt
from argparse import ArgumentTypeError
from collections.abc import Callable

from axes.models import AccessAttempt
from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.db import transaction
from django.utils import timezone

from api.gateway.http.client_ip import network_address
from backoffice.command_base import Handler, Options, SubcommandsCommand, command_actor, counted
from cyllm_site.sign_in.second_factor import second_factor_remove
from tenants.audit_trail.changes import admin_audit_record
from tenants.management.lookup import user_by_name


def _address(text: str) -> str:
    try:
        return network_address(text)
    except ValueError:
        raise ArgumentTypeError("must be an IP address") from None


class Command(SubcommandsCommand):
    """Show and forget failed sign-ins to the admin."""

    help = "Show the failed sign-ins to the admin that count now (list), or unlock a client (unlock)."
    example_arguments = {
        "reset-two-factor": ("alice",),
        "unlock": (
            "--user alice",
            "--address 192.0.2.7",
        ),
    }

    def subcommands(self, add: Callable[[str, Handler, str], CommandParser]) -> None:
        """Declare list, reset-two-factor and unlock."""
        add("list", self._list, "show the failures that count, newest first")
        reset = add("reset-two-factor", self._reset, "remove the second factor of a person who has lost it")
        reset.add_argument("user", help="name of the account")
        unlock = add("unlock", self._unlock, "forget the failures of an account or address")
        unlock.add_argument("--user", metavar="NAME", help="account, from whatever address")
        unlock.add_argument(
            "--address", type=_address, metavar="IP", help="address, for IPv6 its whole /64 network"
        )

    def _reset(self, options: Options) -> None:
        user = user_by_name(options["user"])
        if not second_factor_remove(user, actor=command_actor()):
            raise CommandError(f"{user.get_username()} has no second factor.")
        row = {"user": user.get_username(), "removed": True}
        self.show_one(row, options, f"The second factor of {user.get_username()} is removed.")

    def _list(self, options: Options) -> None:
        since = timezone.now() - dt.timedelta(seconds=settings.CYLLM.sign_in_lock_s)
        attempts = AccessAttempt.objects.filter(attempt_time__gte=since).order_by("-attempt_time")
        rows = [
            {
                "last": attempt.attempt_time,
                "address": attempt.ip_address,
                "account": attempt.username,
                "failures": attempt.failures_since_start,
            }
            for attempt in attempts
        ]
        self.show(rows, options, nothing="No failed sign-ins.")

    def _unlock(self, options: Options) -> None:
        filters = {"username": options["user"], "ip_address": options["address"]}
        filters = {name: value for name, value in filters.items() if value}
        if not filters:
            raise CommandError("Name an account with --user, an address with --address, or both.")
        with transaction.atomic():
            count, _ = AccessAttempt.objects.filter(**filters).delete()
            if count:
                admin_audit_record(
                    actor=command_actor(),
                    action="sign_in.unlock",
                    object_id="",
                    object_name=", ".join(filters.values()),
                )
        self.show_one(
            {"records_deleted": count}, options, f"{counted(count, 'record')} of failed sign-ins deleted."
        )
