"""Sweep of the event logs of dead gateways: readers get an error, tenants get their log slots back."""

from __future__ import annotations

from typing import cast

import redis

from api.gateway.settings import Limits
from api.gateway.streams.event_logs.event_log import LogState
from api.gateway.streams.event_logs.scripts import APPEND, append_arguments, log_keys
from api.gateway.streams.output.closing_events import LogKind, closing_events
from api.openai.errors.streams import StreamLost
from inference_worker.protocol import names
from tenants.ledger.liveness import dead_gateways


def lost_logs_close(client: redis.Redis, limits: Limits) -> int:
    """End the running logs of dead gateways with the error ``stream_lost``. Returns their number.

    Raises RedisError; the next sweep ends the rest.
    """
    entries = cast("dict[bytes, bytes]", client.hgetall(names.RUNNING_STREAMS))
    gateways = {log_id.decode(): gateway_id.decode() for log_id, gateway_id in entries.items()}
    dead_ids = dead_gateways(client, set(gateways.values()), missing_key=names.STREAM_GATEWAYS_MISSING)
    lost_ids = [log_id for log_id, gateway_id in gateways.items() if gateway_id in dead_ids]
    return sum(_close(client, log_id, limits) for log_id in lost_ids)


def _close(client: redis.Redis, log_id: str, limits: Limits) -> bool:
    """End one log. Returns False for a log that has expired or that another process has ended."""
    meta = cast("list[bytes | None]", client.hmget(names.stream_meta_key(log_id), "tenant", "kind", "next"))
    tenant_id, kind, number = (value.decode() if value else "" for value in meta)
    if not tenant_id:
        client.hdel(names.RUNNING_STREAMS, log_id)
        return False
    arguments = append_arguments(
        log_id,
        int(number),
        closing_events(LogKind(kind), StreamLost(), int(number)),
        max_bytes=limits.stream_log_bytes,
        keep_ms=int(limits.stream_log_keep_s * 1000),
        final_state=LogState.LOST.value,
    )
    keys = log_keys(log_id, tenant_id)
    return int(client.eval(APPEND.text, len(keys), *keys, *arguments)) >= 0
