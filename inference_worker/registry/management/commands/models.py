"""``manage.py models``: list, add, update and remove served models."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import redis
from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.db import transaction

from backoffice.command_base import Handler, Options, SubcommandsCommand, command_actor, unknown_name
from inference_worker.registry import selectors, services
from inference_worker.registry.models import Visibility
from inference_worker.registry.tenant_names import tenant_names
from inference_worker.registry.workers import live_workers

if TYPE_CHECKING:
    from inference_worker.protocol.messages import Heartbeat
    from inference_worker.registry.services import ModelChanges


def _row(model: selectors.RegisteredModel, slugs: Mapping[uuid.UUID, str]) -> dict[str, object]:
    return {
        "name": model.name,
        "aliases": model.alias_names,
        "enabled": model.enabled,
        "visibility": model.visibility,
        "max_model_len": model.max_model_len,
        "owned_by": model.owned_by,
        "source": model.source,
        "granted_to": sorted(slugs.get(tenant_id, str(tenant_id)) for tenant_id in model.granted_ids),
    }


def _worker_row(worker: Heartbeat, model_names: Sequence[str]) -> dict[str, object]:
    return {
        "worker": worker.worker_id,
        "state": worker.state,
        "models": list(worker.models),
        "not_registered": [name for name in worker.models if name not in model_names],
        "running": worker.running,
        "waiting": worker.waiting,
        "stage": worker.stage,
        "hardware": worker.hardware,
    }


def _tenant_ids(texts: Sequence[str]) -> list[uuid.UUID]:
    """Return the ids of tenants given by short name or id. An id need not exist."""
    ids = {slug: tenant_id for tenant_id, slug in tenant_names().items()}
    return [ids[text] if text in ids else _tenant_id(text, ids) for text in texts]


def _tenant_id(text: str, slugs: Iterable[str]) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise unknown_name("tenant", text, slugs, "`manage.py tenants list` shows all.") from None


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


def _add_model_arguments(parser: CommandParser) -> None:
    parser.add_argument("name", help="1 to 200 letters, digits, or . _ : / -")
    parser.add_argument("--source", help="a folder or a name on a model hub, for information only")
    parser.add_argument("--max-model-len", type=int, help="context length in tokens; 0: the workers' limit")
    parser.add_argument("--owned-by")
    parser.add_argument("--visibility", choices=Visibility.values)
    state = parser.add_mutually_exclusive_group()
    state.add_argument("--enable", action="store_const", const=True, dest="enabled")
    state.add_argument("--disable", action="store_const", const=False, dest="enabled")
    parser.add_argument("--alias", nargs="*", dest="aliases", help="all aliases, replacing the existing ones")
    parser.add_argument(
        "--grant",
        nargs="*",
        dest="grants",
        metavar="TENANT",
        help="all tenants with a grant, replacing the existing ones",
    )


class Command(SubcommandsCommand):
    """List, add, update and remove served models, and list the workers that serve them."""

    help = "List, add, update and remove served models, and list the workers that serve them."

    def subcommands(self, add: Callable[[str, Handler, str], CommandParser]) -> None:
        """Declare list, workers, add, update and remove."""
        add("list", self._list, "list all models")
        add("workers", self._workers, "list the live workers, and which of their models are not registered")
        for name, handler, text in (
            ("add", self._add, "add a model, or update an existing one"),
            ("update", self._update, "update a model"),
        ):
            _add_model_arguments(add(name, handler, text))
        remove = add("remove", self._remove, "remove a model from the registry")
        remove.add_argument("name")

    def _list(self, options: Options) -> None:
        slugs = tenant_names()
        rows = [_row(model, slugs) for model in selectors.registered_models()]
        self.show(rows, options, nothing="No models yet; `manage.py models add` adds one.")

    def _workers(self, options: Options) -> None:
        try:
            workers = live_workers(settings.CYLLM.redis_url)
        except redis.RedisError:
            raise CommandError("Redis can't be reached: see CYLLM_REDIS_URL.") from None
        model_names = selectors.model_names()
        rows = [_worker_row(worker, model_names) for worker in workers]
        self.show(rows, options, nothing="No live workers.")
        served_names = {name for worker in workers for name in worker.models}
        for name in sorted(served_names.difference(model_names)):
            self.stderr.write(f"Requests for {name} fail with 404 until `manage.py models add {name}`.")

    @transaction.atomic
    def _add(self, options: Options) -> None:
        services.model_register(name=options["name"], actor=command_actor(), **_changes(options))
        self._set_lists(options)
        self._show(options, "registered")

    @transaction.atomic
    def _update(self, options: Options) -> None:
        self._require(options["name"])
        services.model_update(name=options["name"], actor=command_actor(), **_changes(options))
        self._set_lists(options)
        self._show(options, "updated")

    def _remove(self, options: Options) -> None:
        self._require(options["name"])
        services.model_remove(name=options["name"], actor=command_actor())
        self.show_one(
            {"name": options["name"], "removed": True}, options, f"Model {options['name']} removed."
        )

    def _require(self, name: str) -> None:
        model_names = selectors.model_names()
        if name not in model_names:
            raise unknown_name("model", name, model_names, "`manage.py models list` shows all.")

    def _set_lists(self, options: Options) -> None:
        aliases: Sequence[str] | None = options["aliases"]
        grants: Sequence[str] | None = options["grants"]
        if aliases is not None:
            services.alias_set(name=options["name"], aliases=aliases, actor=command_actor())
        if grants is not None:
            services.grant_set(name=options["name"], tenant_ids=_tenant_ids(grants), actor=command_actor())

    def _show(self, options: Options, outcome: str) -> None:
        model = selectors.registered_models().get(name=options["name"])
        self.show_one(_row(model, tenant_names()), options, f"Model {model.name} {outcome}.")
