"""Names of channels, keys and streams in Redis; one place, so that no two processes disagree."""

from __future__ import annotations

from inference_worker.protocol.messages import PROTOCOL_VERSION

FACTS_STREAM = "cyllm:facts"
FACTS_FIELD = b"fact"
FACTS_GROUP = "ledger"

WORKER_INDEX = "cyllm:workers"  # sorted set: worker id -> Unix time of the last heartbeat
GATEWAYS_MISSING = "cyllm:gateways:missing"  # hash: gateway id -> Redis's time when it was first missed
RESPONSE_GATEWAYS_MISSING = "cyllm:gateways:missing:responses"  # the same, for the sweep of responses

CHANGES_CHANNEL = "cyllm:changes"  # pub/sub: "key <prefix>", "tenant <uuid>", "models", "stream <id>"

HEARTBEAT_INTERVAL_S = 0.5
HEARTBEAT_EXPIRY_S = 5.0
GATEWAY_EXPIRY_S = 5.0


def worker_channel(worker_id: str, boot: str) -> str:
    """Where a worker listens. A new life has a new channel: nothing old is delivered to it."""
    return f"cyllm.v{PROTOCOL_VERSION}.worker.{worker_id}.{boot}"


def gateway_channel(gateway_id: str) -> str:
    """Where a gateway process listens; ``gateway_id`` is new with every process."""
    return f"cyllm.v{PROTOCOL_VERSION}.gateway.{gateway_id}"


def worker_key(worker_id: str) -> str:
    """The expiring key that holds a worker's heartbeat."""
    return f"cyllm:worker:{worker_id}"


def gateway_key(gateway_id: str) -> str:
    """The expiring key by which a gateway process shows that it lives."""
    return f"cyllm:gateway:{gateway_id}"


def stream_key(log_id: str) -> str:
    """The event log of one answer: event n is entry n + 1."""
    return f"cyllm:stream:{log_id}"


def stream_meta_key(log_id: str) -> str:
    """Whose log it is, who writes it, and its state: a hash."""
    return f"cyllm:stream:{log_id}:meta"


def stream_channel(log_id: str) -> str:
    """Pub/sub: a message whenever the log has grown."""
    return f"cyllm:stream:{log_id}:grew"


def stream_index_key(tenant_id: str) -> str:
    """The logs of a tenant: a sorted set of ids by the time in ms at which they expire."""
    return f"cyllm:streams:{tenant_id}"
