"""What the gateway reads of Postgres on the way of each request: keys and models, kept for a moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from api.gateway import catalogue
from api.gateway.catalogue import Catalogue
from api.gateway.database import Database
from api.gateway.fresh import FreshCache
from api.gateway.repeated import Repeated
from inference_worker.registry import selectors as registry
from tenants.selectors import KeyPrincipal, key_principal, key_principals


class Cached:
    """``keys`` by prefix, all ``models`` under None, at most ``max_age_s`` old; ``warmings`` keep them so.

    Reading raises ApiError ``database_unavailable``.
    """

    def __init__(self, database: Database, max_age_s: float) -> None:
        self._database = database
        self.keys: FreshCache[str, KeyPrincipal | None] = FreshCache(self._key, max_age_s)
        self.models: FreshCache[None, Catalogue] = FreshCache(self._models, max_age_s)
        self.warmings = (
            Repeated("keys-warm", partial(self.keys.warm, self._many_keys), self.keys.warming_s),
            Repeated("models-warm", partial(self.models.warm, self._models_again), self.models.warming_s),
        )

    async def catalogue(self) -> Catalogue:
        """All models."""
        return await self.models.get(None)

    def forget_all(self) -> None:
        """Something has changed, and what is not known."""
        self.keys.clear()
        self.models.clear()

    async def _key(self, prefix: str) -> KeyPrincipal | None:
        return await self._database.read(key_principal, prefix)

    async def _many_keys(self, prefixes: Sequence[str]) -> Mapping[str, KeyPrincipal | None]:
        found = await self._database.read(key_principals, prefixes)
        return {prefix: found.get(prefix) for prefix in prefixes}

    async def _models(self, _: None) -> Catalogue:
        return catalogue.build(await self._database.read(registry.catalogue))

    async def _models_again(self, _: Sequence[None]) -> Mapping[None, Catalogue]:
        return {None: await self._models(None)}
