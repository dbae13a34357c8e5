"""``make run`` as a whole: up, down, killed, disturbed. A scripted engine stands in for the model."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from deploy.local.demo.smoke_test import ask, said_by, status_of
from deploy.local.files import read_env
from deploy.local.servers.ports import free_port, listening
from deploy.local.settings import ROOT

START_TIMEOUT_S = 90.0
READY = "Everything runs."


@pytest.fixture(scope="module")
def engine() -> Iterator[str]:
    """The address of an engine that answers ``w0 w1 w2``."""
    port = free_port()
    with subprocess.Popen(
        [sys.executable, "-m", "tests.faulty_engine", str(port)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        _until(lambda: listening(port))
        yield f"http://127.0.0.1:{port}"
        process.terminate()


class Launcher:
    """One ``python -m deploy.local`` with a folder of its own."""

    def __init__(self, state: Path, port: int, settings: dict[str, str]) -> None:
        self.state = state
        self.base_url = f"http://127.0.0.1:{port}"
        self._output = state.parent / "output.txt"
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("CYLLM_", "DJANGO_"))
        }
        self.environment = {
            **inherited,
            "CYLLM_STATE_DIR": str(state),
            "CYLLM_PORT": str(port),
            **settings,
        }

    def start(self, *flags: str) -> None:
        """Start it, with its output in a file."""
        with self._output.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "deploy.local", *flags],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        """What it has said so far."""
        return self._output.read_text()

    def up(self) -> None:
        """Start it and wait until everything runs."""
        self.start()
        _until(lambda: READY in self.output or self.process.poll() is not None, START_TIMEOUT_S)
        assert READY in self.output, self.output

    def family(self) -> list[psutil.Process]:
        """All processes that it has started, and those that they have."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self, number: int = signal.SIGINT) -> int:
        """Send the signal and wait; the exit status."""
        self.process.send_signal(number)
        return self.process.wait(timeout=60)

    def answer(self) -> str:
        """The answer to one more question, with the key in ``demo.env``."""
        demo = read_env(self.state / "demo.env")
        return ask(demo["OPENAI_BASE_URL"], key=demo["OPENAI_API_KEY"], model="scripted").text


@pytest.fixture
def launcher(tmp_path: Path, engine: str) -> Iterator[Launcher]:
    """A launcher that has not started yet; whatever it leaves is killed with the test."""
    settings = {
        "CYLLM_WORKER_ENGINE": "remote",
        "CYLLM_WORKER_ENGINE_URL": engine,
        "CYLLM_WORKER_MODEL": "scripted",
    }
    made = Launcher(tmp_path / "state", free_port(), settings)
    yield made
    if hasattr(made, "process"):
        left = made.family() if made.process.poll() is None else []
        made.process.kill()
        made.process.wait()
        for process in left:
            if process.is_running():
                process.kill()


def _until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def _alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def test_it_comes_up_answers_and_goes_down_in_order_and_is_warm_the_second_time(launcher: Launcher) -> None:
    launcher.up()
    first = launcher.output
    assert "[10/10] first request … 3 tokens" in first
    assert "→ w0 w1 w2\n" in first
    assert launcher.answer() == "w0 w1 w2 "
    demo = read_env(launcher.state / "demo.env")
    assert demo["OPENAI_API_KEY"] not in first
    assert demo["CYLLM_ADMIN_PASSWORD"] not in first
    family = launcher.family()
    assert launcher.end() == 0
    stops = [line.split()[1] for line in launcher.output.splitlines() if line.startswith("stopped ")]
    assert stops == ["gateway", "celery", "worker", "postgres", "valkey"]
    assert _alive(family) == []
    assert not (launcher.state / "stack.env").exists()

    launcher.up()
    assert "database … up to date" in launcher.output
    assert "demo tenant … already there" in launcher.output
    assert read_env(launcher.state / "demo.env") == demo
    assert launcher.answer() == "w0 w1 w2 "
    assert launcher.end(signal.SIGTERM) == 0


def test_commands_in_a_second_terminal_find_the_running_stack(launcher: Launcher) -> None:
    launcher.up()
    environment = {
        name: value
        for name, value in launcher.environment.items()
        if not name.startswith("CYLLM_") or name == "CYLLM_STATE_DIR"
    }
    done = subprocess.run(
        [sys.executable, "manage.py", "keys", "list", "--json"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    key = read_env(launcher.state / "demo.env")["OPENAI_API_KEY"]
    assert key.split("-")[2] in done.stdout
    assert key not in done.stdout
    launcher.end()


def test_after_a_kill_nothing_stays_and_the_next_start_works(launcher: Launcher) -> None:
    launcher.up()
    key = read_env(launcher.state / "demo.env")["OPENAI_API_KEY"]
    family = launcher.family()
    assert len(family) >= 5
    launcher.process.kill()
    launcher.process.wait()
    _until(lambda: not _alive(family))
    launcher.up()
    assert read_env(launcher.state / "demo.env")["OPENAI_API_KEY"] == key
    assert launcher.answer() == "w0 w1 w2 "
    launcher.end()


def test_a_busy_port_is_said_before_anything_is_started(launcher: Launcher) -> None:
    port = int(launcher.environment["CYLLM_PORT"])
    with socket.create_server(("127.0.0.1", port)):
        launcher.start()
        assert launcher.process.wait(timeout=30) == 1
    assert f"Port {port} on 127.0.0.1 can't be used: process {os.getpid()} (" in launcher.output
    assert f"CYLLM_PORT={port + 1} make run" in launcher.output
    assert "Traceback" not in launcher.output
    assert not (launcher.state / "postgres").exists()


def test_a_second_start_in_the_same_folder_is_refused_and_the_first_goes_on(launcher: Launcher) -> None:
    launcher.up()
    second = subprocess.run(
        [sys.executable, "-m", "deploy.local"],
        cwd=ROOT,
        env=launcher.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode == 1
    assert f"runs in this folder already (process {launcher.process.pid})" in second.stderr
    assert launcher.answer() == "w0 w1 w2 "
    launcher.end()


def test_a_gateway_that_dies_is_started_again(launcher: Launcher) -> None:
    launcher.up()
    pid = json.loads((launcher.state / "run" / "gateway.json").read_text())["pid"]
    os.kill(pid, signal.SIGKILL)
    _until(lambda: "gateway ended by SIGKILL; starting it again in 1 s" in launcher.output)
    _until(lambda: status_of(f"{launcher.base_url}/health/ready") == 200)
    assert launcher.answer() == "w0 w1 w2 "
    launcher.end()


def test_given_servers_are_used_and_none_is_embedded(
    launcher: Launcher, postgres_url: str, redis_url: str
) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE given")
    database_url = postgres_url.rsplit("/", 1)[0] + "/given"
    launcher.environment |= {
        "CYLLM_DATABASE_URL": database_url,
        "CYLLM_REDIS_URL": redis_url.rsplit("/", 1)[0] + "/1",
    }
    launcher.up()
    assert "valkey … not started, CYLLM_REDIS_URL is used" in launcher.output
    assert "postgres … not started, CYLLM_DATABASE_URL is used" in launcher.output
    names = {process.name() for process in launcher.family()}
    assert not names & {"postgres", "valkey-server"}
    assert not (launcher.state / "postgres").exists()
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT slug FROM tenants_tenant").fetchall() == [("demo",)]
    assert launcher.end() == 0


@pytest.mark.criterion("4.4")
@pytest.mark.parametrize(
    ("setting", "address"),
    [
        ("CYLLM_REDIS_URL", "redis://:hunter2@127.0.0.1:{port}/0"),
        ("CYLLM_DATABASE_URL", "postgresql://someone:hunter2@127.0.0.1:{port}/name"),
    ],
)
def test_a_given_server_that_is_down_is_said_by_its_setting_before_anything_is_started(
    launcher: Launcher, setting: str, address: str
) -> None:
    launcher.environment[setting] = address.format(port=free_port())
    launcher.start()
    assert launcher.process.wait(timeout=30) == 1
    assert f"{setting} names a server that can't be used" in launcher.output
    assert "refused" in launcher.output
    assert "Traceback" not in launcher.output
    assert "hunter2" not in launcher.output
    assert not (launcher.state / "postgres").exists()


def test_a_second_signal_ends_everything_at_once(launcher: Launcher) -> None:
    launcher.up()
    family = launcher.family()
    worker = json.loads((launcher.state / "run" / "worker.json").read_text())["pid"]
    os.kill(worker, signal.SIGSTOP)  # it would not end by itself now
    launcher.process.send_signal(signal.SIGINT)
    _until(lambda: "stopped gateway" in launcher.output)
    began = time.monotonic()
    assert launcher.end() == 130
    assert time.monotonic() - began < 2
    _until(lambda: not _alive(family))


def test_wrong_settings_are_all_named_and_nothing_is_left(launcher: Launcher) -> None:
    launcher.environment |= {"CYLLM_LOG_LEVEL": "LOUD", "CYLLM_TOTAL_TIMEOUT": "3"}
    launcher.start()
    assert launcher.process.wait(timeout=30) == 1
    assert "CYLLM_LOG_LEVEL" in launcher.output
    assert "CYLLM_TOTAL_TIMEOUT: no such setting; did you mean CYLLM_TOTAL_TIMEOUT_S?" in launcher.output
    assert "Traceback" not in launcher.output


def test_wrong_settings_of_the_worker_are_named_before_anything_is_started(launcher: Launcher) -> None:
    launcher.environment["CYLLM_WORKER_MAX_NUM_SEQS"] = "0"
    launcher.start()
    assert launcher.process.wait(timeout=30) == 1
    assert "CYLLM_WORKER_MAX_NUM_SEQS: " in launcher.output
    assert "[ 2/10]" not in launcher.output
    assert "Traceback" not in launcher.output


def test_a_remote_engine_that_is_not_there_is_told_while_it_is_waited_for(launcher: Launcher) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    launcher.environment["CYLLM_WORKER_ENGINE_URL"] = address
    launcher.start()
    expected = f"waiting for the remote engine at {address}: connection refused"
    _until(lambda: expected in launcher.output, START_TIMEOUT_S)
    assert launcher.end() == 0


def test_an_engine_that_cannot_start_is_said_with_its_own_words(launcher: Launcher, tmp_path: Path) -> None:
    for name in ("CYLLM_WORKER_ENGINE", "CYLLM_WORKER_ENGINE_URL"):
        del launcher.environment[name]
    config = tmp_path / "model" / "config.json"
    config.parent.mkdir()
    config.write_text("{}")
    launcher.environment["CYLLM_WORKER_MODEL_PATH"] = str(config.parent)
    launcher.start()
    _until(lambda: "settings, ports, leftovers … checked" in launcher.output)
    config.unlink()  # it was there when the settings were checked
    assert launcher.process.wait(timeout=START_TIMEOUT_S) == 1
    assert "worker exited with 1" in launcher.output
    assert "is no model folder" in launcher.output
    assert "stopped postgres" in launcher.output


@pytest.mark.criterion("4.1")
@pytest.mark.timeout(600)
def test_the_bundled_model_loads_in_stages_and_answers(launcher: Launcher, smollm2: Path) -> None:
    for name in ("CYLLM_WORKER_ENGINE", "CYLLM_WORKER_ENGINE_URL", "CYLLM_WORKER_MODEL"):
        del launcher.environment[name]
    models = launcher.state / "models"
    models.mkdir(parents=True)
    (models / "smollm2-135m-instruct").symlink_to(smollm2)
    launcher.start("--once")
    ready = f"{launcher.base_url}/health/ready"
    _until(lambda: '"loading": 1' in said_by(ready), START_TIMEOUT_S)
    assert status_of(ready) == 503
    assert launcher.process.wait(timeout=500) == 0, launcher.output
    assert "→ The capital of France is Paris." in launcher.output
    loading = re.findall(r"worker loads the model … (.*), \d+ s", launcher.output)
    assert any(re.search(r"loading weights \(\d+ MiB\)", stage) for stage in loading)
    assert re.search(r"worker loads the model … ready \(vllm, .* tokens\) in \d+\.\d s", launcher.output)
