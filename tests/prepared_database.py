"""A database with the complete schema: made once, kept in ``.cyllm/test-databases``, copied for each server.

The migrations take seconds of processor time, a copy a fraction of one.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from deploy.local.files import load_or_create_secret, write_private
from deploy.local.processes.supervisor import Supervisor
from deploy.local.servers.postgres import EmbeddedPostgres
from tests.locks import locked
from tests.patience import PATIENCE_S
from tests.ports import reserved_port

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cyllm" / "test-databases"
LOCK = CACHE / "lock"
NO_SYNC = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
# The roles of a copy have the password of the original.
PASSWORD_FILE = CACHE / "postgres.password"


def database_password() -> str:
    """Return the password of all prepared databases."""
    with locked(LOCK):
        return load_or_create_secret(PASSWORD_FILE)


def copy_database(target: Path) -> None:
    """Copy the prepared data folder, with its owner, to a folder that doesn't exist."""
    password, folder = database_password(), CACHE / _fingerprint()
    with locked(LOCK):
        if not folder.exists():
            for old_folder in CACHE.glob("schema-*"):
                shutil.rmtree(old_folder)
            _create(folder, password)
        _copy(folder, target)


def prepare_state(state_dir: Path) -> None:
    """Give the folder of a stack, unless it has one, a database that needs no migration."""
    if not (state_dir / "postgres").exists():
        copy_database(state_dir / "postgres")
        write_private(state_dir / "postgres.password", database_password() + "\n")


@functools.cache
def _fingerprint() -> str:
    """Return a name made of all that the data folder depends on."""
    digest = hashlib.sha256(PASSWORD_FILE.read_bytes())
    names = ["requirements.txt", "deploy/local/servers/postgres.py", "tests/prepared_database.py"]
    for path in sorted([*(ROOT / name for name in names), *ROOT.glob("[!.]*/**/migrations/*.py")]):
        digest.update(f"{path.relative_to(ROOT)}\n".encode() + path.read_bytes())
    return f"schema-{digest.hexdigest()[:16]}"


def _create(folder: Path, password: str) -> None:
    # In a temporary folder: the server's account can't reach the cache.
    with tempfile.TemporaryDirectory(prefix="cyllm-tests-", ignore_cleanup_errors=True) as name:
        data = Path(name, "postgres")
        server = EmbeddedPostgres(data_dir=data, port=reserved_port(), password=password, options=NO_SYNC)
        server.initialise()
        supervisor = Supervisor(run_dir=Path(name, "run"), log_dir=Path(name, "logs"), say=print)
        supervisor.start(server.program())
        supervisor.wait_until("postgres", server.is_ready, timeout_s=PATIENCE_S)
        try:
            server.ensure_database()
            _migrate(server.url)
        finally:
            supervisor.stop("postgres")
        partial = CACHE / "partial"
        shutil.rmtree(partial, ignore_errors=True)
        _copy(data, partial)
        partial.rename(folder)


def _migrate(database_url: str) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("CYLLM_")},
        "DJANGO_SETTINGS_MODULE": "cyllm_site.settings.base",
        "CYLLM_DATABASE_URL": database_url,
        "CYLLM_REDIS_URL": "redis://127.0.0.1:1/0",
        "CYLLM_SECRET_KEY": "for-migrations-only-never-for-serving-anything",
    }
    command = [sys.executable, "manage.py", "migrate", "--noinput", "--verbosity", "0"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-Rp", source, target], check=True)
