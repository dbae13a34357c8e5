"""``manage.py responses``: delete stored responses before they expire."""

from __future__ import annotations

from collections.abc import Callable

from django.core.management.base import CommandParser

from api.stored_responses.services import ended_responses, responses_purge
from backoffice.command_base import Handler, Options, SubcommandsCommand, command_actor
from tenants.management.purges import purge_arguments, purge_bounds, purge_row, purge_text


class Command(SubcommandsCommand):
    """Delete stored responses before they expire."""

    help = "Delete stored responses before they expire. Expired ones are deleted every hour."
    example_arguments = {
        "purge": ("--before 2026-01-01 --tenant acme", "--before 2026-01-01 --yes"),
    }

    def subcommands(self, add: Callable[[str, Handler, str], CommandParser]) -> None:
        """Declare purge."""
        text = "delete the responses created before TIME, unless they are still generated; this is audited"
        purge_arguments(add("purge", self._purge, text))

    def _purge(self, options: Options) -> None:
        bounds = purge_bounds(options)
        if options["yes"]:
            count = responses_purge(before=bounds.before, tenant=bounds.tenant, actor=command_actor())
        else:
            count = ended_responses(before=bounds.before, tenant=bounds.tenant).count()
        counts = {"stored_responses": count}
        self.show_one(purge_row(counts, options), options, purge_text(counts, options))
