"""``manage.py models``: list, add, update and remove served models."""

from __future__ import annotations

import uuid
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import redis
from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.db import transaction

from backoffice.command_base import (
    Handler,
    Options,
    SubcommandsCommand,
    command_actor,
    microusd_argument,
    unknown_name,
)
from backoffice.display.money import dollars
from inference_worker.registry import selectors, services
from inference_worker.registry.models import Visibility
from inference_worker.registry.tenant_names import tenant_names
from inference_worker.registry.worker_sightings import live_workers

if TYPE_CHECKING:
    from inference_worker.protocol.messages import Heartbeat
    from inference_worker.registry.services import ModelChanges


# Marks the option that clears the price of cached tokens.
AS_PROMPT = -1


def _row(model: selectors.RegisteredModel, slugs: Mapping[uuid.UUID, str]) -> dict[str, object]:
    return {
        "name": model.name,
        "aliases": model.alias_names,
        "enabled": model.enabled,
        "visibility": model.visibility,
        "max_model_len": model.max_model_len,
        "owned_by": model.owned_by,
        **{name: _dollars(getattr(selectors.priced_model(model), name)) for name in services.PRICES},
        "source": model.source,
        "adapter_of": model.adapter.base.name if hasattr(model, "adapter") else None,
        "granted_to": sorted(slugs.get(tenant_id, str(tenant_id)) for tenant_id in model.granted_ids),
    }


def _dollars(microusd: int | None) -> str | None:
    return None if microusd is None else dollars(microusd)


def _context_length(text: str) -> int:
    if text.lower() == "none":
        return 0
    try:
        return int(text)
    except ValueError:
        raise ArgumentTypeError(f"{text} is neither a whole number nor none") from None


def _cached_microusd(text: str) -> int:
    return AS_PROMPT if text.lower() == "none" else microusd_argument(text)


def _worker_row(worker: Heartbeat, model_names: Sequence[str]) -> dict[str, object]:
    return {
        "worker": worker.worker_id,
        "state": worker.state,
        "models": list(worker.models),
        "not_registered": [name for name in worker.models if name not in model_names],
        "max_lora_rank": worker.max_lora_rank,
        "adapters": len(worker.adapters),
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
    return {**changes, **_prices(options)}  # type: ignore[typeddict-item]


def _prices(options: Options) -> dict[str, int | None]:
    prices = {name: options[name] for name in services.PRICES if options[name] is not None}
    return {name: None if price == AS_PROMPT else price for name, price in prices.items()}


def _add_model_arguments(parser: CommandParser) -> None:
    parser.add_argument("name", help="1 to 200 letters, digits, or . _ : / -")
    parser.add_argument("--source", help="a folder or a name on a model hub, for information only")
    parser.add_argument(
        "--max-model-len",
        type=_context_length,
        metavar="N",
        help="context length in tokens, or none to apply the workers' limit",
    )
    parser.add_argument("--owned-by")
    parser.add_argument("--visibility", choices=Visibility.values)
    prices = parser.add_argument_group("prices", "in dollars per million tokens, such as 0.25")
    for name, parse, text in (
        ("prompt", microusd_argument, None),
        (
            "cached",
            _cached_microusd,
            "of prompt tokens from the prefix cache, or none to charge them as others",
        ),
        ("completion", microusd_argument, None),
        ("training", microusd_argument, "of tokens that fine-tuning trains on"),
    ):
        prices.add_argument(f"--{name}-price", type=parse, metavar="DOLLARS", help=text)
    state = parser.add_mutually_exclusive_group()
    state.add_argument("--enable", action="store_const", const=True, dest="enabled")
    state.add_argument("--disable", action="store_const", const=False, dest="enabled")
    parser.add_argument(
        "--alias",
        nargs="*",
        dest="aliases",
        help="all aliases, replacing the existing ones; alone: remove all",
    )
    parser.add_argument(
        "--grant",
        nargs="*",
        dest="grants",
        metavar="TENANT",
        help="all tenants with a grant, replacing the existing ones; alone: remove all",
    )


class Command(SubcommandsCommand):
    """List, add, update and remove served models, and list the workers that serve them."""

    help = "List, add, update and remove served models, and list the workers that serve them."
    example_arguments = {
        "add": ("smollm2 --source HuggingFaceTB/SmolLM2-135M-Instruct",),
        "update": ("smollm2 --max-model-len 2048",),
        "remove": ("smollm2",),
    }

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
