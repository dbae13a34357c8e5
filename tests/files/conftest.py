"""A production server on the test database, for uploads over sockets, and its storage."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import openai
import pytest

from deploy.local.processes.supervisor import Supervisor
from tests.site_server import running_site

if TYPE_CHECKING:  # pytest imports this before Django is set up
    from tenants.models import Tenant

ROOT = Path(__file__).resolve().parents[2]
NAME = "file-server"
LIMITS = {
    "CYLLM_MAX_FILE_BYTES": str(300 * 1024 * 1024),
    "CYLLM_TENANT_FILE_BYTES": str(320 * 1024 * 1024),
    "CYLLM_FILE_UPLOADS_PER_TENANT": "100",
    "CYLLM_FILE_STALL_TIMEOUT_S": "2",
    "CYLLM_CLIENT_BODY_TIMEOUT_S": "1",
    "CYLLM_MAX_BODY_BYTES": "65536",
}


@dataclass(frozen=True)
class FileServer:
    """A running server. ``state_dir`` holds its storage and its incoming files."""

    url: str
    state_dir: Path
    pid: Callable[[], int] = field(repr=False)

    def contents(self) -> list[Path]:
        """Return all files in the storage and on their way to it."""
        folders = (self.state_dir / "files", self.state_dir / "uploads")
        return [path for folder in folders for path in folder.rglob("*") if path.is_file()]

    def reset_peak(self) -> int:
        """Reset the peak of the process's memory, and return its present size in bytes."""
        Path(f"/proc/{self.pid()}/clear_refs").write_text("5")
        return self.memory_bytes("VmRSS")

    def memory_bytes(self, name: str) -> int:
        """Return an amount of memory of the process by its name in /proc, such as VmRSS or VmHWM."""
        status = Path(f"/proc/{self.pid()}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(name))


@pytest.fixture(scope="package")
def server(
    test_servers: Supervisor,
    django_db_setup: None,
    postgres_url: str,
    redis_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[FileServer]:
    """A running server with small limits for JSON bodies and for silence."""
    state_dir = tmp_path_factory.mktemp("state")
    with running_site(test_servers, NAME, **LIMITS, CYLLM_STATE_DIR=str(state_dir)) as port:
        yield FileServer(f"http://127.0.0.1:{port}", state_dir, lambda: _pid(test_servers))


def _pid(servers: Supervisor) -> int:
    pid = servers.pid(NAME)
    assert pid is not None, "the server has ended"
    return pid


@dataclass(frozen=True)
class Account:
    """A tenant with the client of one of its keys."""

    tenant: Tenant
    client: openai.OpenAI
    key: str = field(repr=False)


@pytest.fixture
def account(transactional_db: None, server: FileServer) -> Iterator[Account]:
    """A tenant whose key the running server accepts, with the unmodified SDK."""
    from tenants.keys.services import key_create
    from tenants.services import tenant_create

    shutil.rmtree(server.state_dir / "files", ignore_errors=True)  # of earlier tests
    tenant = tenant_create(slug="acme", name="Acme", actor="tests")
    key = str(key_create(tenant=tenant, name="k", actor="tests")[1])
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0) as client:
        yield Account(tenant, client, key)
