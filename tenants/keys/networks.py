"""Networks from which a key may be used."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

Network: TypeAlias = IPv4Network | IPv6Network
_MAPPED = IPv6Network("::ffff:0:0/96")
MAX_NETWORKS = 100


def networks_normalise(texts: Collection[str]) -> list[str]:
    """Return the networks in their canonical form, sorted, without duplicates.

    IPv4-mapped networks become IPv4. Raises ValidationError for a text that is not a network, or
    that has address bits outside its mask.
    """
    networks = {_parse(text.strip()) for text in texts if text.strip()}
    if len(networks) > MAX_NETWORKS:
        raise ValidationError({"allowed_networks": _("At most %(max)s networks.") % {"max": MAX_NETWORKS}})
    return [str(network) for network in sorted(networks, key=_order)]


def _order(network: Network) -> tuple[int, int, int]:
    return network.version, int(network.network_address), network.prefixlen


def _parse(text: str) -> Network:
    try:
        network = ip_network(text)
    except ValueError:
        raise _no_network(text) from None
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        return IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
    return network


def _no_network(text: str) -> ValidationError:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        message = _("%(text)s is not a network. Write it as 192.0.2.0/24, 2001:db8::/32 or one address.")
        return ValidationError({"allowed_networks": message % {"text": text}})
    message = _("%(text)s has address bits outside its mask. Did you mean %(network)s?")
    return ValidationError({"allowed_networks": message % {"text": text, "network": network}})


def is_allowed_address(address: str | None, networks: tuple[str, ...]) -> bool:
    """Return whether the address is in one of the networks; without networks, every address is.

    An unknown address is in no network.
    """
    if not networks:
        return True
    try:
        ip = ip_address(address or "")
    except ValueError:
        return False
    plain = _unmapped(ip)
    return any(plain in network for network in _parsed(networks))


def _unmapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


@lru_cache(maxsize=1024)
def _parsed(networks: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(ip_network(network) for network in networks)
