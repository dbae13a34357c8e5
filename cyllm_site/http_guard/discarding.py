"""The pace at which discarded bytes are read, such as the rest of a refused body."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.flow_control import FlowControl

from api.gateway.capacity.pace import SOCKET_S_PER_BYTE, Pace
from api.gateway.http.client_ip import network_address

_pace = Pace()  # by network: most of these clients have no tenant


def pace_discarded(size: int, flow: FlowControl, transport: asyncio.Transport, peer: str) -> None:
    """Account for bytes that were read and discarded, and stop reading for as long as the pace requires.

    ``peer``: the address at the other end of the connection, whose network has a clock of its own.
    """
    network = _network(peer)
    _pace.charge(network, size * SOCKET_S_PER_BYTE)
    wait_s = _pace.wait_s(network)
    if wait_s == 0 or transport.is_closing():
        return

    def resume() -> None:
        if not transport.is_closing():
            flow.resume_reading()

    flow.pause_reading()
    asyncio.get_running_loop().call_later(wait_s, resume)


def _network(peer: str) -> str:
    try:
        return network_address(peer)
    except ValueError:  # the path of a Unix socket, or none
        return peer
