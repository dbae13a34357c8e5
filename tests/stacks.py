"""Whole stacks for tests: the launcher that users run, with all its processes, in a separate folder."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psycopg
import redis

from deploy.local.files import read_env
from deploy.local.processes.supervisor import Program
from deploy.local.servers.postgres import EmbeddedPostgres
from deploy.local.servers.valkey import EmbeddedValkey
from tests.commands import CommandServer
from tests.patience import PATIENCE_S
from tests.ports import reserved_port
from tests.prepared_database import copy_database, database_password, prepare_state
from tests.processes import end_process
from tests.validated_traffic import RECORDER

ROOT = Path(__file__).resolve().parents[1]
START_TIMEOUT_S = 240.0
STOP_TIMEOUT_S = 75.0  # longer than the launcher waits for its slowest


def wait_until(condition: Callable[[], bool], condition_name: str, *, timeout_s: float = PATIENCE_S) -> float:
    """Wait for a condition and return the seconds it took. Raises AssertionError after the time limit."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < timeout_s, f"{condition_name}: not within {timeout_s:.1f} s"
        time.sleep(0.02)
    return time.monotonic() - start


@dataclass
class Service:
    """A server outside the stack that tests can stop and start."""

    program: Program
    answers: Callable[[], bool]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server and wait until it responds."""
        user, group = self.program.user or (None, None)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                list(self.program.argv),
                cwd=self.program.cwd,
                env=dict(self.program.env) or None,
                user=user,
                group=group,
                extra_groups=[] if user is not None else None,
                stdout=log,
                stderr=log,
            )
        wait_until(self.answers, f"{self.program.name} answers; {self.log}")

    def running(self) -> bool:
        """Return whether the process is alive."""
        return self.process is not None and self.process.poll() is None

    def stop(self) -> None:
        """Stop the server with its regular signal and wait."""
        assert self.process is not None
        end_process(self.process, self.program.stop_signal)


@dataclass
class RunningStack:
    """Addresses and processes of a running stack."""

    state_dir: Path
    base_url: str
    model: str
    key: str
    launcher: subprocess.Popen[bytes]
    environment: dict[str, str] = field(repr=False)
    commands: CommandServer = field(repr=False)

    @property
    def output(self) -> str:
        """Output of the launcher so far."""
        return (self.state_dir / "launcher.log").read_text(errors="replace")

    def log(self, name: str) -> str:
        """Return the log of a process."""
        return (self.state_dir / "logs" / f"{name}.log").read_text(errors="replace")

    def pid(self, name: str) -> int:
        """Return the process id of ``gateway``, ``worker``, ``celery``, …"""
        record = self.state_dir / "run" / f"{name}.json"
        return int(json.loads(record.read_text())["pid"])

    def headers(self, key: str | None = None) -> dict[str, str]:
        """Return the headers that a client sends with each request."""
        return {"Authorization": f"Bearer {key or self.key}"}

    def client(self, timeout_s: float = 60.0) -> httpx.Client:
        """Return a client with the demo key."""
        return httpx.Client(
            base_url=self.base_url, headers=self.headers(), timeout=timeout_s, trust_env=False
        )

    def ready(self) -> bool:
        """Return whether ``/health/ready`` responds with 200."""
        try:
            return httpx.get(f"{self.base_url}/health/ready", timeout=3, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def redis(self) -> redis.Redis:
        """Return a client of the stack's Redis."""
        return redis.Redis.from_url(self.environment["CYLLM_REDIS_URL"], socket_timeout=30)

    def database(self) -> psycopg.Connection[tuple[object, ...]]:
        """Return a connection to the stack's database."""
        return psycopg.connect(self.environment["CYLLM_DATABASE_URL"], autocommit=True)

    def manage(self, *arguments: str) -> str:
        """Run a ``manage.py`` command and return its output."""
        return self.commands.run(*arguments)


@contextmanager
def open_folder() -> Iterator[Path]:
    """Make a temporary folder for a stack.

    Outside pytest's own folder: every session closes that to other users, and Postgres runs as one.
    """
    with tempfile.TemporaryDirectory(prefix="cyllm-stack-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@contextmanager
def running_stack(
    state_dir: Path,
    settings: dict[str, str],
    while_starting: Callable[[RunningStack], None] | None = None,
) -> Iterator[RunningStack]:
    """Run ``python -m deploy.local`` with these settings: ready on entry, ended by SIGTERM on exit.

    Its embedded database has no tenant yet, but needs no migration.
    ``while_starting`` is called again and again until the stack is ready.
    """
    port = reserved_port()
    state_dir.mkdir(parents=True, exist_ok=True)
    if "CYLLM_DATABASE_URL" not in settings:
        prepare_state(state_dir)
    own_variables = {name: value for name, value in os.environ.items() if not name.startswith("CYLLM_")}
    own_variables.pop("DJANGO_SETTINGS_MODULE", None)
    environment = {**own_variables, "CYLLM_STATE_DIR": str(state_dir), "CYLLM_PORT": str(port), **settings}
    with (state_dir / "launcher.log").open("wb") as log:
        launcher = subprocess.Popen(
            [sys.executable, "-m", "deploy.local"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    stack = RunningStack(state_dir, f"http://127.0.0.1:{port}", "", "", launcher, {}, CommandServer({}))
    RECORDER.watch(stack.base_url)
    try:
        condition = f"the stack starts; {state_dir}/launcher.log"
        wait_until(lambda: _is_up(stack, while_starting), condition, timeout_s=START_TIMEOUT_S)
        demo = read_env(state_dir / "demo.env")
        stack.key = demo["OPENAI_API_KEY"]
        stack.environment = read_env(state_dir / "stack.env")
        stack.commands = CommandServer(stack.environment)
        with stack.client() as client:
            stack.model = client.get("/v1/models").json()["data"][0]["id"]
        yield stack
    finally:
        stack.commands.close()
        end_process(launcher, timeout_s=STOP_TIMEOUT_S)


def _is_up(stack: RunningStack, while_starting: Callable[[RunningStack], None] | None) -> bool:
    if while_starting is not None:
        while_starting(stack)
    assert stack.launcher.poll() is None, f"the launcher ended:\n{stack.output}"
    return "Everything is running." in stack.output


@contextmanager
def own_services(folder: Path) -> Iterator[tuple[Service, Service, dict[str, str]]]:
    """Run Postgres and Valkey outside the stack; yields them and the settings with their addresses."""
    postgres = EmbeddedPostgres(
        data_dir=folder / "postgres", port=reserved_port(), password=database_password()
    )
    valkey = EmbeddedValkey(
        data_dir=folder / "valkey", port=reserved_port(), password=secrets.token_urlsafe(16), fsync="always"
    )
    copy_database(postgres.data_dir)
    services = (
        Service(postgres.program(), postgres.is_ready, folder / "postgres.log"),
        Service(valkey.program(), valkey.is_ready, folder / "valkey.log"),
    )
    for service in services:
        service.start()
    try:
        yield (*services, {"CYLLM_DATABASE_URL": postgres.url, "CYLLM_REDIS_URL": valkey.url})
    finally:
        for service in services:
            service.stop()
