"""The embedded servers keep their data when stopped or killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from deploy.local.processes.supervisor import Supervisor
from deploy.local.servers.postgres import EmbeddedPostgres
from deploy.local.servers.valkey import EmbeddedValkey
from tests.patience import PATIENCE_S
from tests.ports import reserved_port

FAST = {"fsync": "off"}


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    """A supervisor that stops its servers after the test."""
    instance = Supervisor(run_dir=tmp_path / "run", log_dir=tmp_path / "logs", say=print)
    yield instance
    for name in reversed(instance.names):
        instance.stop(name)


def _postgres(folder: Path) -> EmbeddedPostgres:
    return EmbeddedPostgres(
        data_dir=folder / "postgres", port=reserved_port(), password="it's:a/test", options=FAST
    )


def _valkey(folder: Path) -> EmbeddedValkey:
    return EmbeddedValkey(data_dir=folder / "valkey", port=reserved_port(), password="test")


def _start(supervisor: Supervisor, server: EmbeddedPostgres | EmbeddedValkey) -> None:
    program = server.program()
    supervisor.start(program)
    supervisor.wait_until(program.name, server.is_ready, timeout_s=PATIENCE_S)


def test_embedded_postgres_serves_a_fresh_database_to_its_own_role(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        row = connection.execute(
            "SELECT current_user, current_database(), rolsuper FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
    assert row == ("cyllm", "cyllm", False)


def test_embedded_postgres_refuses_a_wrong_password(postgres_url: str) -> None:
    user, rest = postgres_url.split("@")
    wrong = user.rsplit(":", 1)[0] + ":wrong@" + rest
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)


def test_postgres_keeps_its_data_across_a_restart(tmp_path: Path, supervisor: Supervisor) -> None:
    first = _postgres(tmp_path)
    assert first.initialise() is True
    _start(supervisor, first)
    first.ensure_database()
    with psycopg.connect(first.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    supervisor.stop("postgres")
    assert not first.is_ready()

    second = _postgres(tmp_path)
    assert second.initialise() is False
    _start(supervisor, second)
    second.ensure_database()
    with psycopg.connect(second.url) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)


def test_an_incomplete_data_folder_is_recreated(tmp_path: Path, supervisor: Supervisor) -> None:
    server = _postgres(tmp_path)
    (tmp_path / "postgres.partial").mkdir()
    (tmp_path / "postgres.partial" / "base").write_text("half of an initdb")
    assert server.initialise() is True
    assert not (tmp_path / "postgres.partial").exists()
    _start(supervisor, server)


def test_a_killed_postgres_restarts_at_the_same_address(tmp_path: Path, supervisor: Supervisor) -> None:
    server = _postgres(tmp_path)
    server.initialise()
    _start(supervisor, server)
    pid = supervisor.pid("postgres")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE_S
    while supervisor.pid("postgres") in (None, pid) or not server.is_ready():
        supervisor.poll()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_orphaned_postgres_is_stopped_and_another_server_is_not(
    tmp_path: Path, supervisor: Supervisor
) -> None:
    server = _postgres(tmp_path)
    server.initialise()
    _start(supervisor, server)
    other = _postgres(tmp_path / "other")
    other.data_dir.mkdir(parents=True)
    pid = supervisor.pid("postgres")
    (other.data_dir / "postmaster.pid").write_text(f"{pid}\n")  # a process id that another server reuses
    assert other.stop_orphan() is None
    assert server.is_ready()
    assert server.stop_orphan() == pid
    assert not server.is_ready()
    assert server.stop_orphan() is None


def test_embedded_valkey_requires_its_password(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.config_get("appendonly") == {"appendonly": "yes"}
    address = redis_url.split("@")[1]
    with redis.Redis.from_url(f"redis://{address}") as client, pytest.raises(redis.AuthenticationError):
        client.ping()


def test_valkey_keeps_its_data_when_killed(tmp_path: Path, supervisor: Supervisor) -> None:
    server = _valkey(tmp_path)
    _start(supervisor, server)
    with redis.Redis.from_url(server.url) as client:
        client.xadd("facts", {"fact": "one"})
    time.sleep(1.2)  # the append-only file is synced once a second
    pid = supervisor.pid("valkey")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE_S
    while supervisor.pid("valkey") in (None, pid) or not server.is_ready():
        supervisor.poll()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with redis.Redis.from_url(server.url) as client:
        assert client.xlen("facts") == 1


def test_an_orphaned_valkey_is_stopped_and_another_server_is_not(tmp_path: Path) -> None:
    mine, other = _valkey(tmp_path / "mine"), _valkey(tmp_path / "other")
    argvs = [server.program().argv for server in (mine, other)]
    folders = [server.data_dir for server in (mine, other)]
    with (
        subprocess.Popen(argvs[0], cwd=folders[0], stdout=subprocess.DEVNULL) as orphan,
        subprocess.Popen(argvs[1], cwd=folders[1], stdout=subprocess.DEVNULL) as other_process,
    ):
        deadline = time.monotonic() + PATIENCE_S
        while not (mine.is_ready() and other.is_ready()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert mine.stop_orphan() == [orphan.pid]
        assert other.is_ready()
        other_process.terminate()
    assert not psutil.pid_exists(orphan.pid)


def test_the_configuration_file_is_private(tmp_path: Path) -> None:
    server = _valkey(tmp_path)
    server.program()
    assert server.config_path.stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs root")
def test_postgres_does_not_run_as_root(tmp_path: Path, supervisor: Supervisor) -> None:
    server = _postgres(tmp_path)
    server.initialise()
    _start(supervisor, server)
    pid = supervisor.pid("postgres")
    assert psutil.Process(pid).uids().effective != 0
    assert server.data_dir.stat().st_mode & 0o777 == 0o700
