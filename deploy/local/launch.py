"""The local stack, from nothing to a first answer, and down again in order."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Protocol

import redis

from deploy.local import environment
from deploy.local.demo import smoke_test
from deploy.local.demo.default_model import model_prepare
from deploy.local.demo.heartbeat_listener import Listener
from deploy.local.demo.worker_check import worker_check
from deploy.local.files import secret
from deploy.local.processes.supervisor import Program, ProgramFailedError, Supervisor, end_orphans
from deploy.local.progress import Stage, Stages
from deploy.local.servers.external_servers import database_probe, redis_probe
from deploy.local.servers.ports import free_port, port_check
from deploy.local.servers.postgres import START_TIMEOUT_S, EmbeddedPostgres
from deploy.local.servers.valkey import EmbeddedValkey
from deploy.local.settings import ROOT, LocalSettings
from inference_worker.protocol.messages import WorkerState

STAGES = 10
GATEWAY_TIMEOUT_S = 60.0
READY_TIMEOUT_S = 30.0
WATCH_S = 0.25
DRAIN_S = 30


class Embedded(Protocol):
    """What the two embedded servers have in common."""

    @property
    def url(self) -> str: ...
    def program(self) -> Program: ...
    def answers(self) -> bool: ...


class Stack:
    """One local stack. ``start`` and ``stop`` are called once, from the main thread."""

    def __init__(self, local: LocalSettings, terminal: Stages) -> None:
        self.local = local
        self.terminal = terminal
        self.supervisor = Supervisor(
            run_dir=local.state_dir / "run", log_dir=local.state_dir / "logs", say=terminal.say
        )
        self.postgres = None if local.database_url else self._postgres()
        self.valkey = None if local.redis_url else self._valkey()
        self.redis_url = self.valkey.url if self.valkey else local.redis_url
        self.platform = environment.platform_environment(
            local,
            database_url=self.postgres.url if self.postgres else local.database_url,
            redis_url=self.redis_url,
        )

    def start(self) -> None:
        """Bring everything up and ask the first question."""
        self._check()
        with self.terminal.stage("valkey") as stage:
            stage.result = self._start_embedded(self.valkey, "CYLLM_REDIS_URL")
        with self.terminal.stage("postgres") as stage:
            stage.result = self._start_postgres()
        with self.terminal.stage("model") as stage:
            stage.result = self._prepare_model()
        with self.terminal.stage("inference worker") as stage:
            self.supervisor.start(self._worker())
            stage.result = "started, loads while the rest comes up"
        with self.terminal.stage("database") as stage:
            stage.result = self._migrate()
        with self.terminal.stage("demo tenant") as stage:
            key, stage.result = self._demo()
        with self.terminal.stage("gateway and celery") as stage:
            self._start_gateway()
            stage.result = f"ready on {self.local.base_url}"
        with self.terminal.stage("worker loads the model") as stage:
            stage.result = self._await_worker(stage)
        with self.terminal.stage("first request") as stage:
            answer = smoke_test.ask(
                f"{self.local.base_url}/v1", key=key, model=environment.served_model(self.local)
            )
            stage.result = f"{answer.completion_tokens} tokens, the first after {answer.first_token_s:.2f} s,"
        self.terminal.say(f"\n  {smoke_test.QUESTION}\n  → {answer.text.strip()}\n")

    def watch(self) -> None:
        """Keep everything running, until a signal ends it."""
        while True:
            self.supervisor.poll()
            time.sleep(WATCH_S)

    def stop(self) -> None:
        """End everything, in the reverse of the order in which it was started."""
        environment.stack_withdraw(self.local)
        for name in reversed(self.supervisor.names()):
            began = time.monotonic()
            self.supervisor.stop(name)
            self.terminal.say(f"stopped {name} in {time.monotonic() - began:.1f} s")

    # ---- the stages ----

    def _check(self) -> None:
        from deploy.local.servers.schema import django_setup  # Django's settings have to be known before

        with self.terminal.stage("settings, ports, leftovers") as stage:
            left = end_orphans(self.local.state_dir / "run")
            for server in (self.postgres, self.valkey):
                left += ["server"] if server and server.end_orphan() else []
            port_check(self.local.port, setting="CYLLM_PORT")
            django_setup(self.platform)
            told = environment.worker_environment(self.local, self.platform)
            worker_check(told, bundled_model=self.local.bundled_model)
            self._probe_given()
            ended = f", ended what a killed run had left ({', '.join(left)})" if left else ""
            stage.result = f"checked{ended}"

    def _probe_given(self) -> None:
        if self.local.redis_url:
            redis_probe(self.local.redis_url)
        if self.local.database_url:
            database_probe(self.local.database_url)

    def _start_embedded(self, server: Embedded | None, setting: str) -> str:
        if server is None:
            return f"not started, {setting} is used"
        program = server.program()
        self.supervisor.start(program)
        self.supervisor.wait_until(program.name, server.answers, timeout_s=START_TIMEOUT_S)
        return "ready"

    def _start_postgres(self) -> str:
        opened = self.postgres.open_ways() if self.postgres else []
        if opened:
            folders = ", ".join(map(str, opened))
            self.terminal.say(
                f"  for Postgres, which does not run as root: {folders} can be passed through now"
            )
        made = self.postgres.initialise() if self.postgres else False
        result = self._start_embedded(self.postgres, "CYLLM_DATABASE_URL")
        if self.postgres:
            self.postgres.ensure_database()
        return "made and ready" if made else result

    def _prepare_model(self) -> str:
        folder = environment.model_folder(self.local)
        if not self.local.bundled_model:
            return f"not prepared, {environment.served_model(self.local)} is used"
        return f"unpacked into {shown(folder)}" if model_prepare(folder) else "complete"

    def _migrate(self) -> str:
        from deploy.local.servers.schema import migrate

        (self.local.state_dir / "static").mkdir(parents=True, exist_ok=True)
        applied = migrate(self.platform)
        environment.stack_publish(self.local, self.platform)
        return f"{applied} migrations applied" if applied else "up to date"

    def _demo(self) -> tuple[str, str]:
        from deploy.local.demo.demo_tenant import demo_provision
        from deploy.local.servers.schema import close

        said: list[str] = []
        demo = demo_provision(
            path=self.local.state_dir / environment.DEMO_FILE,
            base_url=self.local.base_url,
            models=environment.served_sources(self.local),
            say=said.append,
        )
        close()
        return demo.key, "; ".join(said) or "already there"

    def _start_gateway(self) -> None:
        self.supervisor.start(self._celery())
        self.supervisor.start(self._gateway())
        live = f"{self.local.base_url}/health/live"
        self.supervisor.wait_until(
            "gateway", lambda: smoke_test.status_of(live) == 200, timeout_s=GATEWAY_TIMEOUT_S
        )

    def _await_worker(self, stage: Stage) -> str:
        server = "the embedded Valkey" if self.valkey else "the server in CYLLM_REDIS_URL"
        with redis.Redis.from_url(self.redis_url, socket_timeout=5, socket_connect_timeout=5) as client:
            listener = Listener(client, environment.worker_id(self.local), server=server)
            while (heartbeat := listener.heartbeat()) is None or heartbeat.state is not WorkerState.READY:
                if self.supervisor.pid("worker") is None:
                    raise ProgramFailedError(self.supervisor.failure("worker"))
                stage.note(heartbeat.stage if heartbeat else "starting")
                self.supervisor.poll()
                time.sleep(WATCH_S)
        self._await_ready()
        return f"ready ({heartbeat.engine}, {heartbeat.hardware}, context {heartbeat.max_model_len} tokens)"

    def _await_ready(self) -> None:
        ready = f"{self.local.base_url}/health/ready"
        deadline = time.monotonic() + READY_TIMEOUT_S
        while smoke_test.status_of(ready) != 200:
            if time.monotonic() > deadline:
                said = smoke_test.said_by(ready) or "nothing"
                raise ProgramFailedError(
                    f"the gateway was not ready {READY_TIMEOUT_S:.0f} s after its worker; {ready}: {said}"
                )
            self.supervisor.poll()
            time.sleep(WATCH_S)

    # ---- the programs ----

    def _postgres(self) -> EmbeddedPostgres:
        state = self.local.state_dir
        return EmbeddedPostgres(
            data_dir=state / "postgres", port=free_port(), password=secret(state / "postgres.password")
        )

    def _valkey(self) -> EmbeddedValkey:
        state = self.local.state_dir
        return EmbeddedValkey(
            data_dir=state / "valkey", port=free_port(), password=secret(state / "valkey.password")
        )

    def _worker(self) -> Program:
        return Program(
            name="worker",
            argv=[sys.executable, "-m", "inference_worker.runtime"],
            env=environment.worker_environment(self.local, self.platform),
            cwd=ROOT,
            stop_timeout_s=DRAIN_S + 15,
        )

    def _celery(self) -> Program:
        schedule = self.local.state_dir / "run" / "celerybeat-schedule"
        return Program(
            name="celery",
            argv=[
                *(sys.executable, "-m", "celery", "-A", "cyllm_site", "worker", "-B", "-s", str(schedule)),
                *("--concurrency", "2", "--loglevel", "INFO", "--without-gossip", "--without-mingle"),
            ],
            env=self.platform,
            cwd=ROOT,
        )

    def _gateway(self) -> Program:
        return Program(
            name="gateway",
            argv=[
                *(sys.executable, "-m", "cyllm_site.serve"),
                *("--port", str(self.local.port), "--graceful-s", str(DRAIN_S)),
            ],
            env=self.platform,
            cwd=ROOT,
            stop_timeout_s=DRAIN_S + 30,  # detached requests have 28 s of their own after the others
        )


def shown(path: Path) -> str:
    """The path as one would type it in the checkout."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
