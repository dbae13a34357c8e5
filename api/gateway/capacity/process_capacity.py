"""The capacity of a gateway process: all its bounded resources, as the settings size them."""

from __future__ import annotations

from dataclasses import dataclass, field

from api.gateway.capacity.body_bytes import BodyBytes
from api.gateway.capacity.large_bodies import LargeBodies
from api.gateway.capacity.slots import SharedSlots, TenantSlots
from api.gateway.capacity.tenant_semaphore import TenantSemaphore
from api.gateway.settings import Limits


@dataclass(frozen=True, slots=True)
class Capacity:
    """All bounded resources of a gateway process.

    ``requests``: requests being served. ``body_reads``: bodies being received. ``uploads``: files being
    uploaded. ``bodies``: bytes of bodies, and of events that slow readers have not received yet.
    ``log_readers``: readers of event logs. ``tokenizer``: tokenizer requests with a large text, one of each
    tenant at a time. ``large_bodies``: large bodies being received and decoded.
    """

    requests: SharedSlots
    body_reads: TenantSlots
    uploads: TenantSlots
    bodies: BodyBytes
    log_readers: SharedSlots
    tokenizer: TenantSemaphore = field(default_factory=TenantSemaphore)
    large_bodies: LargeBodies = field(default_factory=LargeBodies)

    @classmethod
    def from_limits(cls, limits: Limits) -> Capacity:
        """Return the capacity that the settings allow; at least two of the largest bodies fit."""
        requests, share = limits.gateway_max_requests, limits.gateway_tenant_share
        largest_body = limits.max_body_bytes
        body_bytes = max(limits.gateway_body_bytes, 2 * largest_body)
        return cls(
            requests=SharedSlots(requests, share),
            body_reads=TenantSlots(requests),
            uploads=TenantSlots(limits.file_uploads_per_tenant),
            bodies=BodyBytes(body_bytes, share, largest_body),
            log_readers=SharedSlots(requests, share),
        )
