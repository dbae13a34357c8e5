"""HMACs of audit records and seals. Without the platform's secret key nobody can make a matching one."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

from django.conf import settings
from django.db import models

from tenants.audit_trail.models import AuditSeal, SealPosition, Trail
from tenants.models import AdminAudit, AuditRecord

TRAILS: Mapping[Trail, type[models.Model]] = {Trail.REQUESTS: AuditRecord, Trail.CHANGES: AdminAudit}
# Listed, because columns that are added later must not change the digests of earlier records.
SEALED_COLUMNS: Mapping[Trail, tuple[str, ...]] = {
    Trail.REQUESTS: (
        *("id", "request_id", "correlation_id", "tenant_id", "key_id", "key_prefix", "client_ip", "method"),
        *("endpoint", "model", "status", "outcome", "error_code", "duration_s", "at"),
    ),
    Trail.CHANGES: (
        *("id", "at", "actor", "action", "object_id", "object_name", "tenant_id", "before", "after"),
    ),
}
# Columns added later count only if they have a value, for the same reason.
LATER_COLUMNS: Mapping[Trail, tuple[str, ...]] = {
    Trail.REQUESTS: ("requested_model", "error_param"),
    Trail.CHANGES: ("request_id",),
}
FIRST_CHAIN = "0" * 64


@cache
def _keys() -> Mapping[str, bytes]:
    """Return the sealing keys by id: that of the secret key, then those of earlier secret keys."""
    keys = {}
    for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        key = hashlib.sha256(b"audit-seal:" + secret.encode()).digest()
        keys[hashlib.sha256(b"audit-seal-id:" + key).hexdigest()[:16]] = key
    return keys


def current_key_id() -> str:
    """Return the id of the key that seals new records."""
    return next(iter(_keys()))


def is_key_known(key_id: str) -> bool:
    """Return whether seals made with a key can be verified."""
    return key_id in _keys()


def _encode(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=_plain).encode()


def plain_value(value: object) -> object:
    """Return the value as it enters a digest: times and ids as text, all else unchanged."""
    return _plain(value) if isinstance(value, dt.datetime | uuid.UUID) else value


def _plain(value: object) -> str:
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    raise TypeError(type(value).__name__)


def _mac(key_id: str, value: object) -> str:
    return hmac.new(_keys()[key_id], _encode(value), hashlib.sha256).hexdigest()


def records_digest(key_id: str, trail: Trail, records: Iterable[models.Model]) -> str:
    """Return the HMAC of records in the order of their ids."""
    digest = hmac.new(_keys()[key_id], trail.encode(), hashlib.sha256)
    for record in records:
        values = [getattr(record, column) for column in SEALED_COLUMNS[trail]]
        # Exports made before a column was added lack it.
        values += [[name, value] for name in LATER_COLUMNS[trail] if (value := getattr(record, name, ""))]
        row = _encode(values)
        digest.update(len(row).to_bytes(8, "big") + row)
    return digest.hexdigest()


def seal_chain(seal: AuditSeal, previous_chain: str) -> str:
    """Return the HMAC that links a seal to the previous one of its tenant."""
    columns = [seal.trail, seal.tenant_id, seal.number, seal.last_id, seal.record_count, seal.newest_at]
    return _mac(seal.key_id, [*columns, seal.digest, previous_chain])


def position_mac(position: SealPosition) -> str:
    """Return the HMAC of a position."""
    return _mac(position.key_id, [position.trail, position.last_id, position.seal_count])


def purge_mac(seal: AuditSeal) -> str:
    """Return the HMAC that shows that the platform itself purged the records up to a seal."""
    return _mac(seal.key_id, ["purge", seal.trail, seal.tenant_id, seal.number, seal.last_id, seal.chain])


def export_mac(
    lines: int,
    records: int,
    chains: Sequence[str],
    deviations: Sequence[Mapping[str, object]],
    key_id: str | None = None,
) -> dict[str, str]:
    """Return the HMAC of an export's size, seals and deviations, and the id of its key.

    ``key_id`` is by default that of the current key. Exports made before deviations were named have none.
    """
    key_id = key_id or current_key_id()
    values = ["export", lines, records, chains, *([deviations] if deviations else [])]
    return {"key_id": key_id, "mac": _mac(key_id, values)}


class TextMac:
    """The HMAC of an export's text, added piece by piece; by default with the current key."""

    def __init__(self, key_id: str | None = None) -> None:
        self.key_id = key_id or current_key_id()
        self._mac = hmac.new(_keys()[self.key_id], b"export-text:", hashlib.sha256)

    def add(self, text: str) -> None:
        """Add text."""
        self._mac.update(text.encode())

    def hexdigest(self) -> str:
        """Return the HMAC so far."""
        return self._mac.hexdigest()
