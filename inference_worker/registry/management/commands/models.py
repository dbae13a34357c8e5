"""``manage.py models``: list, add, change and remove served models."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from django.core.management.base import CommandError, CommandParser
from django.db import transaction

from inference_worker.registry import selectors, services
from inference_worker.registry.models import ServedModel, Visibility
from inference_worker.terminal import Options, Run, SubcommandsCommand, operator, unknown

if TYPE_CHECKING:
    from inference_worker.registry.services import ModelChanges


def _row(model: selectors.RegisteredModel) -> dict[str, object]:
    return {
        "name": model.name,
        "aliases": model.alias_names,
        "enabled": model.enabled,
        "visibility": model.visibility,
        "max_model_len": model.max_model_len,
        "owned_by": model.owned_by,
        "source": model.source,
        "tenant_ids": [str(tenant_id) for tenant_id in model.granted_ids],
    }


def _uuid(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError as error:
        raise CommandError(f"{text} is no tenant id; `manage.py tenants list` shows them.") from error


def _changes(options: Options) -> ModelChanges:
    changes: ModelChanges = {}
    if options["source"] is not None:
        changes["source"] = options["source"]
    if options["max_model_len"] is not None:
        changes["max_model_len"] = options["max_model_len"] or None
    if options["owned_by"] is not None:
        changes["owned_by"] = options["owned_by"]
    if options["visibility"] is not None:
        changes["visibility"] = options["visibility"]
    if options["enabled"] is not None:
        changes["enabled"] = options["enabled"]
    return changes


class Command(SubcommandsCommand):
    """List, add, change and remove served models."""

    help = "List, add, change and remove served models."

    def subcommands(self, add: Callable[[str, Run, str], CommandParser]) -> None:
        """Declare list, add, update and remove."""
        add("list", self._list, "show all models")
        adding = add("add", self._add, "add a model; one that is there is changed")
        update = add("update", self._update, "change a model")
        for parser in (adding, update):
            parser.add_argument("name", help="1 to 200 letters, digits and . _ : / -")
            parser.add_argument("--source", help="where workers find it")
            parser.add_argument(
                "--max-model-len", type=int, help="context length in tokens; 0: as workers say"
            )
            parser.add_argument("--owned-by")
            parser.add_argument("--visibility", choices=Visibility.values)
            state = parser.add_mutually_exclusive_group()
            state.add_argument("--enable", action="store_const", const=True, dest="enabled")
            state.add_argument("--disable", action="store_const", const=False, dest="enabled")
            parser.add_argument(
                "--alias", nargs="*", dest="aliases", help="all its other names; none: remove them"
            )
            parser.add_argument(
                "--grant", nargs="*", dest="grants", metavar="TENANT_ID", help="all tenants that may use it"
            )
        remove = add("remove", self._remove, "take a model out of the registry")
        remove.add_argument("name")

    def _list(self, options: Options) -> None:
        rows = [_row(model) for model in selectors.registered_models()]
        self.show(rows, options, nothing="No models yet; `manage.py models add` adds one.")

    @transaction.atomic
    def _add(self, options: Options) -> None:
        services.model_register(name=options["name"], actor=operator(), **_changes(options))
        self._set_lists(options)
        self._show(options, "is registered")

    @transaction.atomic
    def _update(self, options: Options) -> None:
        self._require(options["name"])
        services.model_update(name=options["name"], actor=operator(), **_changes(options))
        self._set_lists(options)
        self._show(options, "is updated")

    def _remove(self, options: Options) -> None:
        self._require(options["name"])
        services.model_remove(name=options["name"], actor=operator())
        self.show_one(
            {"name": options["name"], "removed": True}, options, f"Model {options['name']} removed."
        )

    def _require(self, name: str) -> None:
        if not ServedModel.objects.filter(name=name).exists():
            raise unknown("model", name, selectors.model_names(), "`manage.py models list` shows all.")

    def _set_lists(self, options: Options) -> None:
        aliases: Sequence[str] | None = options["aliases"]
        grants: Sequence[str] | None = options["grants"]
        if aliases is not None:
            services.alias_set(name=options["name"], aliases=aliases, actor=operator())
        if grants is not None:
            tenant_ids = [_uuid(text) for text in grants]
            services.grant_set(name=options["name"], tenant_ids=tenant_ids, actor=operator())

    def _show(self, options: Options, done: str) -> None:
        model = selectors.registered_models().get(name=options["name"])
        self.show_one(_row(model), options, f"Model {model.name} {done}.")
