"""``make run`` as a whole, with a scripted engine in place of a model."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest

from deploy.local.demo.smoke_test import ask, fetch_status
from deploy.local.files import read_env
from deploy.local.settings import ROOT
from tests.faults.engines import faulty_engine
from tests.patience import PATIENCE_S
from tests.ports import reserved_port
from tests.prepared_database import prepare_state
from tests.stacks import START_TIMEOUT_S, open_folder

READY = "Everything is running."


@pytest.fixture(scope="module")
def engine() -> Iterator[str]:
    """The address of an engine that always generates ``w0 w1 w2``."""
    with faulty_engine() as url:
        yield url


class Launcher:
    """A ``python -m deploy.local`` process with its own state folder."""

    def __init__(self, state: Path, port: int, settings: dict[str, str]) -> None:
        self.state = state
        self.base_url = f"http://127.0.0.1:{port}"
        self._output = state.parent / "output.txt"
        self._process: subprocess.Popen[bytes] | None = None
        variables = {
            name: value for name, value in os.environ.items() if not name.startswith(("CYLLM_", "DJANGO_"))
        }
        self.environment = {
            **variables,
            "CYLLM_STATE_DIR": str(state),
            "CYLLM_PORT": str(port),
            **settings,
        }

    def start(self, *flags: str) -> None:
        """Start the launcher with its output in a file."""
        with self._output.open("w") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "deploy.local", *flags],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        """Output so far."""
        return self._output.read_text()

    def start_and_wait(self) -> None:
        """Start the launcher and wait until the stack is ready."""
        self.start()
        _until(lambda: READY in self.output or self.process.poll() is not None, START_TIMEOUT_S)
        assert READY in self.output, self.output

    def is_running(self) -> bool:
        """Return whether the launcher has started and not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The launcher's process."""
        assert self._process is not None, "the launcher has not started"
        return self._process

    def descendants(self) -> list[psutil.Process]:
        """All processes below the launcher."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def stop(self, number: int = signal.SIGINT) -> int:
        """Send the signal, wait, and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)

    def ask(self) -> str:
        """Send one more request with the key in ``demo.env``; return its text."""
        demo = read_env(self.state / "demo.env")
        return ask(demo["OPENAI_BASE_URL"], key=demo["OPENAI_API_KEY"], model="scripted").text


@contextmanager
def _new_launcher(engine: str) -> Iterator[Launcher]:
    settings = {
        "CYLLM_WORKER_ENGINE": "remote",
        "CYLLM_WORKER_ENGINE_URL": engine,
        "CYLLM_WORKER_MODEL": "scripted",
    }
    with open_folder() as folder:
        instance = Launcher(folder / "state", reserved_port(), settings)
        yield instance
        if instance.is_running():
            processes = instance.descendants()
            instance.process.kill()
            instance.process.wait()
            for process in processes:
                if process.is_running():
                    process.kill()


@pytest.fixture
def launcher(engine: str) -> Iterator[Launcher]:
    """A launcher that has not started yet. Its processes are killed after the test."""
    with _new_launcher(engine) as instance:
        yield instance


@pytest.fixture
def prepared_database(launcher: Launcher) -> None:
    """The launcher's database, which needs no migration."""
    prepare_state(launcher.state)


@pytest.fixture(scope="module")
def shared_launcher(engine: str) -> Iterator[Launcher]:
    """A launcher of several tests with one folder: a start takes seconds."""
    with _new_launcher(engine) as instance:
        prepare_state(instance.state)
        yield instance


@pytest.fixture
def running_launcher(shared_launcher: Launcher) -> Launcher:
    """The shared launcher with a running stack, which the test may end."""
    if not shared_launcher.is_running():
        shared_launcher.start_and_wait()
    return shared_launcher


@pytest.fixture
def stopped_launcher(shared_launcher: Launcher) -> Launcher:
    """The shared launcher after a stop."""
    if shared_launcher.is_running():
        assert shared_launcher.stop(signal.SIGTERM) == 0
    return shared_launcher


def _until(condition: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def _alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [
        process for process in processes if process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    ]


def test_the_stack_starts_responds_and_stops_in_order(launcher: Launcher) -> None:
    launcher.start_and_wait()
    output = launcher.output
    assert "[11/11] first request … 3 tokens" in output
    assert "→ w0 w1 w2\n" in output
    assert launcher.ask() == "w0 w1 w2 "
    demo = read_env(launcher.state / "demo.env")
    assert demo["OPENAI_API_KEY"] not in output
    assert demo["CYLLM_ADMIN_PASSWORD"] not in output
    processes = launcher.descendants()
    assert launcher.stop() == 0
    stops = [line.split()[1] for line in launcher.output.splitlines() if line.startswith("stopped ")]
    assert stops == ["gateway", "beat", "celery", "worker", "postgres", "valkey"]
    assert _alive(processes) == []
    assert not (launcher.state / "stack.env").exists()


def test_commands_in_a_second_terminal_use_the_running_stack(running_launcher: Launcher) -> None:
    environment = {
        name: value
        for name, value in running_launcher.environment.items()
        if not name.startswith("CYLLM_") or name == "CYLLM_STATE_DIR"
    }
    process = subprocess.run(
        [sys.executable, "manage.py", "keys", "list", "--json"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    key = read_env(running_launcher.state / "demo.env")["OPENAI_API_KEY"]
    assert key.split("-")[2] in process.stdout
    assert key not in process.stdout


def test_a_killed_launcher_leaves_no_process_and_can_start_again(running_launcher: Launcher) -> None:
    launcher = running_launcher
    demo = read_env(launcher.state / "demo.env")
    processes = launcher.descendants()
    assert len(processes) >= 5
    launcher.process.kill()
    launcher.process.wait()
    _until(lambda: not _alive(processes))
    launcher.start_and_wait()
    assert "database schema … up to date" in launcher.output
    assert "demo tenant … already exists" in launcher.output
    assert read_env(launcher.state / "demo.env") == demo
    assert launcher.ask() == "w0 w1 w2 "


def test_a_busy_port_is_reported_before_anything_starts(launcher: Launcher) -> None:
    port = int(launcher.environment["CYLLM_PORT"])
    with socket.create_server(("127.0.0.1", port)):
        launcher.start()
        assert launcher.process.wait(PATIENCE_S) == 1
    assert f"Can't listen on port {port} of 127.0.0.1: in use by process {os.getpid()} (" in launcher.output
    assert f"CYLLM_PORT={port + 1} make run" in launcher.output
    assert "Traceback" not in launcher.output
    assert not (launcher.state / "postgres").exists()


def test_a_second_start_in_the_same_folder_is_rejected(
    running_launcher: Launcher,
) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "deploy.local"],
        cwd=ROOT,
        env=running_launcher.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode == 1
    assert f"is already running in this folder (process {running_launcher.process.pid})" in second.stderr
    assert running_launcher.ask() == "w0 w1 w2 "


def test_a_dead_gateway_is_restarted(running_launcher: Launcher) -> None:
    pid = json.loads((running_launcher.state / "run" / "gateway.json").read_text())["pid"]
    os.kill(pid, signal.SIGKILL)
    _until(lambda: "gateway was terminated by SIGKILL; restarting in 1 s" in running_launcher.output)
    _until(lambda: fetch_status(f"{running_launcher.base_url}/health/ready") == 200)
    assert running_launcher.ask() == "w0 w1 w2 "


def test_external_servers_replace_the_embedded_ones(
    launcher: Launcher, postgres_url: str, redis_url: str
) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE external")
    database_url = postgres_url.rsplit("/", 1)[0] + "/external"
    launcher.environment |= {
        "CYLLM_DATABASE_URL": database_url,
        "CYLLM_REDIS_URL": redis_url.rsplit("/", 1)[0] + "/1",
    }
    launcher.start_and_wait()
    assert "valkey … not started, CYLLM_REDIS_URL is set" in launcher.output
    assert "postgres … not started, CYLLM_DATABASE_URL is set" in launcher.output
    names = {process.name() for process in launcher.descendants()}
    assert not names & {"postgres", "valkey-server"}
    assert not (launcher.state / "postgres").exists()
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT slug FROM tenants_tenant").fetchall() == [("demo",)]
    assert launcher.stop(signal.SIGTERM) == 0


@pytest.mark.criterion("4.4")
@pytest.mark.parametrize(
    ("setting", "address"),
    [
        ("CYLLM_REDIS_URL", "redis://:hunter2@127.0.0.1:{port}/0"),
        ("CYLLM_DATABASE_URL", "postgresql://someone:hunter2@127.0.0.1:{port}/name"),
    ],
)
def test_an_external_server_that_is_down_is_reported_by_its_setting_before_anything_starts(
    launcher: Launcher, setting: str, address: str
) -> None:
    launcher.environment[setting] = address.format(port=reserved_port())
    launcher.start()
    assert launcher.process.wait(PATIENCE_S) == 1
    assert f"The server in {setting} can't be used" in launcher.output
    assert "refused" in launcher.output
    assert "Traceback" not in launcher.output
    assert "hunter2" not in launcher.output
    assert not (launcher.state / "postgres").exists()


def test_a_second_signal_kills_all_processes(running_launcher: Launcher) -> None:
    launcher = running_launcher
    processes = launcher.descendants()
    worker = json.loads((launcher.state / "run" / "worker.json").read_text())["pid"]
    os.kill(worker, signal.SIGSTOP)  # a stopped process ignores SIGTERM
    launcher.process.send_signal(signal.SIGINT)
    _until(lambda: "stopped gateway" in launcher.output)
    started_at = time.monotonic()
    assert launcher.stop() == 130
    assert time.monotonic() - started_at < 15, "it waited for the worker"
    _until(lambda: not _alive(processes))


def test_all_invalid_settings_are_reported(launcher: Launcher) -> None:
    launcher.environment |= {"CYLLM_LOG_LEVEL": "LOUD", "CYLLM_TOTAL_TIMEOUT": "3"}
    launcher.start()
    assert launcher.process.wait(PATIENCE_S) == 1
    assert "CYLLM_LOG_LEVEL" in launcher.output
    assert "CYLLM_TOTAL_TIMEOUT: no such setting; did you mean CYLLM_TOTAL_TIMEOUT_S?" in launcher.output
    assert "Traceback" not in launcher.output


def test_invalid_settings_of_the_worker_are_reported_before_anything_starts(launcher: Launcher) -> None:
    launcher.environment["CYLLM_WORKER_MAX_NUM_SEQS"] = "0"
    launcher.start()
    assert launcher.process.wait(PATIENCE_S) == 1
    assert "CYLLM_WORKER_MAX_NUM_SEQS: " in launcher.output
    assert "[ 2/11]" not in launcher.output
    assert "Traceback" not in launcher.output


@pytest.mark.usefixtures("prepared_database")
def test_an_unreachable_remote_engine_is_reported_while_waiting(launcher: Launcher) -> None:
    address = f"http://127.0.0.1:{reserved_port()}"
    launcher.environment["CYLLM_WORKER_ENGINE_URL"] = address
    launcher.start()
    note = f"waiting for the remote engine at {address}: connection refused"
    _until(lambda: note in launcher.output, START_TIMEOUT_S)
    assert launcher.stop() == 0


@pytest.mark.usefixtures("prepared_database")
def test_an_engine_that_cannot_start_is_reported_with_its_log(launcher: Launcher, tmp_path: Path) -> None:
    for name in ("CYLLM_WORKER_ENGINE", "CYLLM_WORKER_ENGINE_URL"):
        del launcher.environment[name]
    config = tmp_path / "model" / "config.json"
    config.parent.mkdir()
    config.write_text("{}")
    launcher.environment["CYLLM_WORKER_MODEL_PATH"] = str(config.parent)
    launcher.start()
    _until(lambda: "preflight checks … passed" in launcher.output)
    config.unlink()  # after the preflight checks
    assert launcher.process.wait(timeout=START_TIMEOUT_S) == 1
    assert "worker exited with status 1" in launcher.output
    assert "is not a model folder" in launcher.output
    assert "stopped postgres" in launcher.output


def test_with_once_the_launcher_sends_a_first_request_and_stops(stopped_launcher: Launcher) -> None:
    launcher = stopped_launcher
    launcher.start("--once")
    assert launcher.process.wait(timeout=START_TIMEOUT_S) == 0, launcher.output
    assert "database schema … up to date" in launcher.output
    assert "→ w0 w1 w2\n" in launcher.output
    assert "stopped postgres" in launcher.output
