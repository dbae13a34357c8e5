"""The parts of one gateway process: made, started and stopped together."""

from __future__ import annotations

import gc
import logging
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from api.gateway import catalogue
from api.gateway.app import Gateway
from api.gateway.catalogue import Catalogue
from api.gateway.changes import Changes
from api.gateway.database import Database
from api.gateway.detached import Detached
from api.gateway.event_log import EventLogs
from api.gateway.follow import Followers
from api.gateway.fresh import FreshCache
from api.gateway.generate import Generation
from api.gateway.health import Health
from api.gateway.kept_responses import KeptResponses
from api.gateway.limits import Limits
from api.gateway.places import BodyBytes, SharedPlaces, TenantPlaces
from api.gateway.repeated import Repeated
from api.gateway.response_store import ResponseStore
from api.gateway.responses import Responses
from api.gateway.settle import Ledger
from api.gateway.streams import Streams
from inference_worker.client.interface import EngineClient
from inference_worker.client.relay import RelayClient
from inference_worker.registry import selectors as registry
from tenants.selectors import KeyPrincipal, key_principal, key_principals

logger = logging.getLogger("cyllm.gateway")


@asynccontextmanager
async def gateway_process(
    *, redis_url: str, secret: str, limits: Limits, client: EngineClient | None = None
) -> AsyncIterator[Gateway]:
    """A running gateway. Starts without Redis or Postgres as well: it isn't ready until they are there.

    ``client`` stands in for the relay where a test has to make faults.
    """
    gateway_id = f"gw-{uuid.uuid4().hex[:16]}"
    database = Database(limits.database_timeout_s)
    ledger = Ledger(redis_url, gateway_id)

    async def find(prefix: str) -> KeyPrincipal | None:
        return await database.read(key_principal, prefix)

    async def find_many(prefixes: Sequence[str]) -> Mapping[str, KeyPrincipal | None]:
        found = await database.read(key_principals, prefixes)
        return {prefix: found.get(prefix) for prefix in prefixes}

    async def read_models(_: None) -> Catalogue:
        return catalogue.build(await database.read(registry.catalogue))

    async def read_models_again(_: Sequence[None]) -> Mapping[None, Catalogue]:
        return {None: await read_models(None)}

    keys: FreshCache[str, KeyPrincipal | None] = FreshCache(find, limits.cache_s)
    models: FreshCache[None, Catalogue] = FreshCache(read_models, limits.cache_s)

    def forget_all() -> None:
        keys.clear()
        models.clear()

    logs = EventLogs(redis_url, gateway_id, limits)
    detached = Detached(logs, ledger, limits)
    followers = Followers(logs, limits, SharedPlaces(limits.max_requests, limits.tenant_share))
    changes = Changes(
        redis_url,
        on_key=keys.forget,
        on_tenant=forget_all,
        on_models=models.clear,
        on_stream=detached.cancel,
        on_gap=forget_all,
    )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(database.close)
        stack.push_async_callback(ledger.stop)
        await ledger.start()
        stack.push_async_callback(changes.stop)
        await changes.start()
        if client is None:
            relay = client = RelayClient(redis_url, gateway_id)
            stack.push_async_callback(relay.stop)
            await relay.start()
        stack.push_async_callback(logs.stop)
        await logs.start()
        # Stopped before all that its requests need.
        stack.push_async_callback(detached.stop)
        await detached.start()
        for warming in (
            Repeated("keys-warm", partial(keys.warm, find_many), keys.warming_s),
            Repeated("models-warm", partial(models.warm, read_models_again), models.warming_s),
        ):
            warming.start()
            stack.push_async_callback(warming.stop)
        # What is here now stays: the collector need not go through it again and again under load.
        gc.collect()
        gc.freeze()
        logger.info("gateway %s started", gateway_id)
        generation = Generation(
            limits=limits,
            secret=secret.encode(),
            client=client,
            ledger=ledger,
            places=SharedPlaces(limits.max_requests, limits.tenant_share),
            readers=TenantPlaces(limits.max_requests),
            bodies=BodyBytes(
                max(limits.held_body_bytes, 2 * limits.max_body_bytes),
                limits.tenant_share,
                limits.max_body_bytes,
            ),
            find_principal=keys.get,
            catalogue=lambda: models.get(None),
            detached=detached,
            followers=followers,
        )
        store = ResponseStore(database, gateway_id, limits)
        yield Gateway(
            generation,
            Streams(logs, followers, keys.get),
            Responses(generation, store),
            KeptResponses(store, logs, followers, keys.get),
            Health(database, ledger, client),
        )
        logger.info("gateway %s stops", gateway_id)
