"""A production site with its own Postgres and Valkey, for benchmarks of its pages."""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from deploy.local.processes.supervisor import Program, Supervisor
from deploy.local.servers.ports import free_port
from deploy.local.servers.postgres import EmbeddedPostgres
from deploy.local.servers.valkey import EmbeddedValkey

if TYPE_CHECKING:  # importable before Django is set up
    pass

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def running_servers() -> Iterator[Supervisor]:
    """Run Postgres and Valkey in a temporary folder, set up Django on them, and migrate."""
    with tempfile.TemporaryDirectory(prefix="cyllm-console-") as name:
        folder = Path(name)
        postgres = EmbeddedPostgres(
            data_dir=folder / "postgres", port=free_port(), password=secrets.token_urlsafe(16), options={}
        )
        valkey = EmbeddedValkey(
            data_dir=folder / "valkey", port=free_port(), password=secrets.token_urlsafe(16)
        )
        supervisor = Supervisor(run_dir=folder / "run", log_dir=folder / "logs", say=lambda _: None)
        postgres.initialise()
        try:
            supervisor.start(postgres.program())
            supervisor.start(valkey.program())
            supervisor.wait_until("postgres", postgres.is_ready, timeout_s=60)
            supervisor.wait_until("valkey", valkey.is_ready, timeout_s=60)
            postgres.ensure_database()
            _set_up_django(postgres.url, valkey.url, folder / "state")
            yield supervisor
        finally:
            for program in reversed(supervisor.names):
                supervisor.stop(program)


def _set_up_django(database_url: str, redis_url: str, state_dir: Path) -> None:
    (state_dir / "static").mkdir(parents=True)
    os.environ.update(
        DJANGO_SETTINGS_MODULE="cyllm_site.settings.base",
        CYLLM_DATABASE_URL=database_url,
        CYLLM_REDIS_URL=redis_url,
        CYLLM_SECRET_KEY=secrets.token_urlsafe(48),
        CYLLM_STATE_DIR=str(state_dir),
    )
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    call_command("collectstatic", verbosity=0, interactive=False)


@contextmanager
def running_site(supervisor: Supervisor, environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run the site on the servers. Yields its address."""
    port = free_port()
    argv = [sys.executable, "-m", "cyllm_site.serve", "--port", str(port)]
    program = Program(name="site", argv=argv, env={**os.environ, **(environment or {})}, cwd=ROOT)
    supervisor.start(program)
    address = f"http://127.0.0.1:{port}"
    try:
        supervisor.wait_until("site", lambda: _responds(address), timeout_s=120)
        yield address
    finally:
        supervisor.stop("site")


def _responds(address: str) -> bool:
    try:
        return httpx.get(f"{address}/health/live", timeout=5).status_code == 200
    except httpx.TransportError:
        return False
