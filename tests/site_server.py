"""Production servers of the site on the test database, for browsers and sockets."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from deploy.local.processes.supervisor import Program, Supervisor
from tests.patience import PATIENCE_S
from tests.ports import reserved_port

ROOT = Path(__file__).resolve().parents[1]


def is_alive(port: int) -> bool:
    """Return whether a server responds."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health/live", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def database_url() -> str:
    """Return the address of the test database, which must exist."""
    from django.db import connection

    address = urlsplit(os.environ["CYLLM_DATABASE_URL"])
    return address._replace(path=f"/{connection.settings_dict['NAME']}").geturl()


@contextmanager
def running_site(servers: Supervisor, name: str, **settings: str) -> Iterator[int]:
    """Run a server under a name that no other server of the tests has, with settings; yields its port."""
    port = reserved_port()
    argv = [sys.executable, "-m", "cyllm_site.serve", "--port", str(port)]
    environment = {**os.environ, "CYLLM_DATABASE_URL": database_url(), **settings}
    servers.start(Program(name=name, argv=argv, env=environment, cwd=ROOT))
    servers.wait_until(name, lambda: is_alive(port), timeout_s=PATIENCE_S)
    yield port
    servers.stop(name)
