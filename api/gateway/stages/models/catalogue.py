"""The model catalogue: enabled models by name and alias, and their visibility to a key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from api.gateway.stages.models.workers import is_served_by
from api.openai.errors.base import printable
from api.openai.errors.models import ModelNotFound
from inference_worker.client.routing import is_usable
from inference_worker.protocol.messages import Heartbeat
from inference_worker.registry.selectors import CatalogueEntry
from tenants.keys.selectors import KeyPrincipal

ReadCatalogue = Callable[[], Awaitable["Catalogue"]]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All enabled models, and an index of their names and aliases."""

    entries: Sequence[CatalogueEntry]
    by_name: Mapping[str, CatalogueEntry]

    @classmethod
    def from_entries(cls, entries: Iterable[CatalogueEntry]) -> Catalogue:
        """Index the registry's entries. A model's own name precedes another model's alias."""
        sorted_entries = tuple(sorted(entries, key=lambda entry: entry.name))
        by_name = {alias: entry for entry in sorted_entries for alias in entry.aliases}
        by_name.update({entry.name: entry for entry in sorted_entries})
        return cls(sorted_entries, by_name)

    def resolve(self, model: str, principal: KeyPrincipal) -> CatalogueEntry:
        """Return the model of this name or alias. Raises ModelNotFound if it is unknown or invisible."""
        entry = self.by_name.get(model)
        if entry is None or not is_visible(entry, principal):
            raise ModelNotFound(model=printable(model), param="model")
        return entry

    def visible(self, principal: KeyPrincipal) -> list[CatalogueEntry]:
        """Return the models that the key may use, by name."""
        return [entry for entry in self.entries if is_visible(entry, principal)]

    def servable(self, principal: KeyPrincipal, workers: Iterable[Heartbeat]) -> list[CatalogueEntry]:
        """Return the models that the key may use and a ready worker serves, by name."""
        ready = [worker for worker in workers if is_usable(worker)]
        return [
            entry for entry in self.visible(principal) if any(is_served_by(entry, worker) for worker in ready)
        ]


def is_visible(entry: CatalogueEntry, principal: KeyPrincipal) -> bool:
    """Return whether a model is public or granted to the key's tenant, and no limit excludes it."""
    if not entry.public and str(principal.tenant_id) not in entry.tenant_ids:
        return False
    names = {entry.name, *entry.aliases}
    limits = (principal.tenant_limits.allowed_models, principal.key_limits.allowed_models)
    return all(not allowlist or not allowlist.isdisjoint(names) for allowlist in limits)
