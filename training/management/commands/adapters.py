"""``manage.py adapters``: list, register and delete adapters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser

from backoffice.command_base import Handler, Options, SubcommandsCommand, command_actor, unknown_name
from inference_worker.registry import selectors
from inference_worker.registry.adapter_services import NewAdapter, adapter_delete, adapter_register
from inference_worker.registry.models import Adapter, ServedModel
from inference_worker.registry.tenant_names import tenant_names
from training.publishing.adapter_check import InvalidAdapterError, check_adapter
from training.publishing.archives import archive_store


class Command(SubcommandsCommand):
    """List, register and delete LoRA adapters, which workers of their base model load on demand."""

    help = "List, register and delete LoRA adapters, which workers of their base model load on demand."
    example_arguments = {
        "add": ("ft:smollm2:acme:support:1 ./adapter --base smollm2 --tenant acme",),
        "delete": ("ft:smollm2:acme:support:1",),
    }

    def subcommands(self, add: Callable[[str, Handler, str], CommandParser]) -> None:
        """Declare list, add and delete."""
        add("list", self._list, "list all adapters")
        register = add("add", self._add, "check an adapter saved by peft, store it and register it")
        register.add_argument("name", help="name in requests, by convention ft:BASE:TENANT:SUFFIX:ID")
        register.add_argument("folder", type=Path, help="folder with adapter_config.json and its weights")
        register.add_argument("--base", required=True, help="name of the base model in the registry")
        register.add_argument("--tenant", required=True, help="short name of the tenant that may use it")
        register.add_argument(
            "--base-folder",
            type=Path,
            help="folder of the base model; default: as in CYLLM_TRAINING_MODELS",
        )
        delete = add("delete", self._delete, "delete an adapter and its weights")
        delete.add_argument("name")

    def _list(self, options: Options) -> None:
        slugs = tenant_names()
        rows = [
            _row(adapter, slugs.get(adapter.tenant_id, str(adapter.tenant_id)))
            for adapter in Adapter.objects.select_related("model", "base")
        ]
        self.show(rows, options, nothing="No adapters yet.")

    def _add(self, options: Options) -> None:
        ids = {slug: tenant_id for tenant_id, slug in tenant_names().items()}
        slug, name, base = options["tenant"], options["name"], options["base"]
        if slug not in ids:
            raise unknown_name("tenant", slug, ids, "`manage.py tenants list` shows all.")
        base_folder = options["base_folder"] or settings.CYLLM.training_models.get(base)
        if base_folder is None:
            raise CommandError(f"Name the folder of {base} with --base-folder.")
        try:
            summary = check_adapter(options["folder"], base_folder)
            archive = archive_store(options["folder"])
            new = NewAdapter(
                name=name,
                base=base,
                sha256=archive.sha256,
                rank=summary.rank,
                size_bytes=archive.size_bytes,
                tenant_id=ids[slug],
                owned_by=slug,
            )
            adapter = adapter_register(new, actor=command_actor())
        except InvalidAdapterError as error:
            raise CommandError(f"This adapter can't be served: {error}.") from None
        except ServedModel.DoesNotExist:
            names = selectors.model_names()
            raise unknown_name("model", base, names, "`manage.py models list` shows all.") from None
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        self.show_one(_row(adapter, slug), options, f"Adapter {name} registered.")

    def _delete(self, options: Options) -> None:
        name = options["name"]
        if not adapter_delete(name=name, actor=command_actor()):
            names = list(Adapter.objects.values_list("model__name", flat=True))
            raise unknown_name("adapter", name, names, "`manage.py adapters list` shows all.")
        self.show_one({"name": name, "deleted": True}, options, f"Adapter {name} deleted.")


def _row(adapter: Adapter, slug: str) -> dict[str, object]:
    return {
        "name": adapter.model.name,
        "base": adapter.base.name,
        "tenant": slug,
        "rank": adapter.rank,
        "size_bytes": adapter.size_bytes,
        "sha256": adapter.sha256,
        "job": adapter.job_id,
        "created_at": adapter.created_at.isoformat(timespec="seconds"),
    }
