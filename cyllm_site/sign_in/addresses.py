"""Addresses of people who sign in, by the gateway's rule, and the networks whose failures are counted."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest

from api.gateway.http.client_ip import client_ip, network_address


def request_ip(request: HttpRequest) -> str:
    """Return the client's address, "" if it is unknown."""
    peer, forwarded_for = request.META.get("REMOTE_ADDR", ""), request.META.get("HTTP_X_FORWARDED_FOR")
    return client_ip(peer, forwarded_for, settings.CYLLM.trusted_proxies)


def counted_address(request: HttpRequest) -> str | None:
    """Return the address whose failures are counted together, None if it is unknown."""
    ip = request_ip(request)
    return network_address(ip) if ip else None
