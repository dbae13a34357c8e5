"""The client's address as the trusted proxies report it, and its network."""

from __future__ import annotations

import ipaddress
import re

from api.gateway.http.disconnect import Scope

# Providers assign at least a /64 to a customer, who can send from each of its addresses.
IPV6_PREFIX = 64
# Some proxies append the port of the connection, in the form of RFC 7239.
_HOP = re.compile(r"\[(?P<v6>[^\]]*)\](?::\d{1,5})?|(?P<v4>[^:]*):\d{1,5}", re.ASCII)


def client_ip(peer: str, forwarded_for: str | None, trusted_proxies: int) -> str:
    """Return the address seen by the outermost trusted proxy; the client's own claims are not trusted.

    ``peer`` is the other end of the connection, ``forwarded_for`` the header X-Forwarded-For, its repetitions
    joined with commas; its addresses may have a port. An IPv4-mapped IPv6 address is returned as IPv4, an
    unknown address as an empty string.
    """
    if trusted_proxies and forwarded_for:
        hops = [hop.strip() for hop in forwarded_for.split(",")]
        peer = _without_port(hops[-trusted_proxies] if len(hops) >= trusted_proxies else hops[0])
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)


def _without_port(hop: str) -> str:
    match = _HOP.fullmatch(hop)
    return hop if match is None else match["v6"] or match["v4"] or ""


def scope_client_ip(scope: Scope, trusted_proxies: int) -> str:
    """Return the address of the client of an ASGI request, "" if it is unknown."""
    peer = (scope.get("client") or ("", 0))[0]
    values = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
    return client_ip(peer, ",".join(values), trusted_proxies)


def scope_network(scope: Scope, trusted_proxies: int) -> str:
    """Return the network address of the client of an ASGI request, "" if it is unknown."""
    ip = scope_client_ip(scope, trusted_proxies)
    return network_address(ip) if ip else ""


def network_address(ip: str) -> str:
    """Return an IPv4 address unchanged, and the first address of an IPv6 address's /64. Raises ValueError."""
    address = ipaddress.ip_address(ip)
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.ip_network((address.packed, IPV6_PREFIX), strict=False).network_address)
