"""Names of the quota keys in Redis. The keys of one tenant are in one hash slot."""

from __future__ import annotations

# Sorted set: id of a tenant with recent reservations -> Redis's time in seconds of its last one.
TENANTS = "cyllm:quota:tenants"


def tenant_prefix(tenant_id: str) -> str:
    """Return the beginning of all keys of a tenant."""
    return f"cyllm:quota:{{{tenant_id}}}:"


def tenant_counters(tenant_id: str) -> str:
    """Return the key of the tenant's counters: a hash with ``incarnation``, windows and spend."""
    return tenant_prefix(tenant_id) + "counters"


def key_counters(tenant_id: str, key_id: str) -> str:
    """Return the key of an API key's counters: a hash with windows and spend."""
    return f"{tenant_counters(tenant_id)}:{key_id}"


def reservations(tenant_id: str) -> str:
    """Return the key of the tenant's open reservations: a hash of request id to its amounts."""
    return tenant_prefix(tenant_id) + "reservations"


def tenant_leases(tenant_id: str) -> str:
    """Return the key of the leases of these reservations: a sorted set of request ids by expiry in ms."""
    return tenant_prefix(tenant_id) + "leases"


def key_leases(tenant_id: str, key_id: str) -> str:
    """Return the key of the leases of one API key, in the same form."""
    return f"{tenant_leases(tenant_id)}:{key_id}"


def rebuild_lock(tenant_id: str) -> str:
    """Return the key of the lock under which the tenant's counters are rebuilt."""
    return tenant_prefix(tenant_id) + "rebuild"


def script_keys(tenant_id: str, key_id: str) -> tuple[str, ...]:
    """Return the keys of the scripts, in their order."""
    return (
        tenant_counters(tenant_id),
        key_counters(tenant_id, key_id),
        reservations(tenant_id),
        tenant_leases(tenant_id),
        key_leases(tenant_id, key_id),
    )
