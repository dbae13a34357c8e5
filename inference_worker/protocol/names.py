"""Names of channels, keys and streams in Redis."""

from __future__ import annotations

from inference_worker.protocol.messages import PROTOCOL_VERSION

FACTS_STREAM = "cyllm:facts"
FACTS_FIELD = b"fact"
FACTS_GROUP = "ledger"

WORKER_INDEX = "cyllm:workers"  # sorted set: worker id -> Unix time of the last heartbeat
GATEWAYS_MISSING = "cyllm:gateways:missing"  # hash: gateway id -> Redis's time when it was first missed
RESPONSE_GATEWAYS_MISSING = "cyllm:gateways:missing:responses"  # the same, for the sweep of responses
STREAM_GATEWAYS_MISSING = "cyllm:gateways:missing:streams"  # the same, for the sweep of event logs
RUNNING_STREAMS = "cyllm:streams:running"  # hash: id of a running event log -> id of its gateway

# pub/sub: "key <prefix>", "tenant <uuid>", "models", "stream <id>", "job <id>"
CHANGES_CHANNEL = "cyllm:changes"

HEARTBEAT_INTERVAL_S = 0.5
HEARTBEAT_EXPIRY_S = 5.0
LAST_SEEN_EXPIRY_S = 3600.0
GATEWAY_EXPIRY_S = 5.0
# A Redis that has just restarted holds no presence keys, so a gateway is dead only after its key has been
# missing for this long.
GATEWAY_DEAD_AFTER_S = 4.0


def worker_channel(worker_id: str, boot: str) -> str:
    """Return the channel of a worker. Each ``boot`` has a channel of its own, so it gets no old messages."""
    return f"cyllm.v{PROTOCOL_VERSION}.worker.{worker_id}.{boot}"


def gateway_channel(gateway_id: str) -> str:
    """Return the channel of a gateway process, whose id is new with every start."""
    return f"cyllm.v{PROTOCOL_VERSION}.gateway.{gateway_id}"


def worker_key(worker_id: str) -> str:
    """Return the expiring key that holds a worker's heartbeat."""
    return f"cyllm:worker:{worker_id}"


def last_seen_key(worker_id: str) -> str:
    """Return the key that holds a worker's last heartbeat for an hour, to say what a lost worker served."""
    return f"cyllm:worker-last:{worker_id}"


def gateway_key(gateway_id: str) -> str:
    """Return the expiring key that shows that a gateway process is alive."""
    return f"cyllm:gateway:{gateway_id}"


def stream_key(log_id: str) -> str:
    """Return the key of an event log: event n is entry n + 1."""
    return f"cyllm:stream:{log_id}"


def stream_meta_key(log_id: str) -> str:
    """Return the key of the hash with an event log's owner, writer and state."""
    return f"cyllm:stream:{log_id}:meta"


def stream_channel(log_id: str) -> str:
    """Return the pub/sub channel that announces new events of a log."""
    return f"cyllm:stream:{log_id}:grew"


def stream_index_key(tenant_id: str) -> str:
    """Return the key of a tenant's event logs: a sorted set of ids by expiry time in ms."""
    return f"cyllm:streams:{tenant_id}"
