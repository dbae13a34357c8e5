"""The local stack: starts everything, sends a first request, and stops everything in reverse order."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import redis

from deploy.local import environment, programs
from deploy.local.demo import smoke_test
from deploy.local.demo.default_model import prepare_model
from deploy.local.processes.program_log import LogLimits
from deploy.local.processes.supervisor import Program, ProgramFailedError, Supervisor, stop_orphans
from deploy.local.processes.worker_heartbeat import HeartbeatReader
from deploy.local.progress import Stage, Terminal
from deploy.local.servers.external_servers import probe_database, probe_redis
from deploy.local.servers.ports import require_free_port
from deploy.local.servers.postgres import START_TIMEOUT_S
from deploy.local.servers.schema import close_connection, migrate, setup_django
from deploy.local.settings import ROOT, LocalSettings
from deploy.local.worker_settings import check_worker_settings
from inference_worker.protocol.messages import Heartbeat, WorkerState
from training.settings import trainable_models

GATEWAY_TIMEOUT_S = 60.0
READY_TIMEOUT_S = 30.0
WATCH_S = 0.25


class EmbeddedServer(Protocol):
    """The common interface of the embedded servers."""

    @property
    def url(self) -> str: ...
    def program(self) -> Program: ...
    def is_ready(self) -> bool: ...


class Stack:
    """One local stack. Call ``start`` and ``stop`` once each, from the main thread."""

    def __init__(self, local: LocalSettings) -> None:
        self.local = local
        self.terminal = Terminal(len(self._stages()))
        self.supervisor = Supervisor(
            run_dir=local.state_dir / "run",
            log_dir=local.state_dir / "logs",
            say=self.terminal.say,
            log_limits=LogLimits(local.log_max_bytes, local.log_keep),
        )
        self.postgres = programs.embedded_postgres(local)
        self.valkey = programs.embedded_valkey(local)
        self.redis_url = self.valkey.url if self.valkey else local.redis_url
        self.platform = environment.platform_environment(
            local,
            database_url=self.postgres.url if self.postgres else local.database_url,
            redis_url=self.redis_url,
        )
        self._key = ""
        self._completion: smoke_test.Completion | None = None

    def start(self) -> None:
        """Start everything and send a first request."""
        for title, run in self._stages().items():
            with self.terminal.stage(title) as stage:
                stage.result = run(stage)
        if self._completion is not None:
            self.terminal.say(f"\n  {smoke_test.QUESTION}\n  → {self._completion.text.strip()}\n")

    def watch(self) -> None:
        """Keep everything running until a signal arrives."""
        while True:
            self.supervisor.poll()
            time.sleep(WATCH_S)

    def stop(self) -> None:
        """Stop everything in the reverse order of its start."""
        with suppress(OSError):  # whatever happens to files, the processes must stop
            environment.withdraw_addresses(self.local)
        for name in reversed(self.supervisor.names):
            started_at = time.monotonic()
            self.supervisor.stop(name)
            self.terminal.say(f"stopped {name} in {time.monotonic() - started_at:.1f} s")

    def _stages(self) -> Mapping[str, Callable[[Stage], str]]:
        """Return the stages in order, by title; each returns its result for the terminal."""
        return {
            "preflight checks": self._check,
            "valkey": self._start_valkey,
            "postgres": self._start_postgres,
            "model files": self._prepare_model,
            "inference worker": self._start_worker,
            "database schema": self._migrate,
            "demo tenant": self._provision_demo,
            "gateway and celery": self._start_gateway,
            "training worker": self._start_training,
            "model loading": self._wait_for_worker,
            "first request": self._send_request,
        }

    # ---- the stages ----

    def _check(self, _: Stage) -> str:
        orphans = stop_orphans(self.local.state_dir / "run")
        for server in (self.postgres, self.valkey):
            orphans += ["server"] if server and server.stop_orphan() else []
        require_free_port(self.local.port, setting="CYLLM_PORT")
        setup_django(self.platform)
        worker = environment.worker_environment(self.local, self.platform)
        check_worker_settings(worker, bundled_model=self.local.bundled_model)
        if self.local.redis_url:
            probe_redis(self.local.redis_url)
        if self.local.database_url:
            probe_database(self.local.database_url)
        return f"passed, stopped leftover processes ({', '.join(orphans)})" if orphans else "passed"

    def _start_valkey(self, _: Stage) -> str:
        return self._start_server(self.valkey, "CYLLM_REDIS_URL")

    def _start_postgres(self, _: Stage) -> str:
        if self.postgres is None:
            return self._start_server(None, "CYLLM_DATABASE_URL")
        if folders := self.postgres.grant_access():
            names = ", ".join(map(str, folders))
            self.terminal.say(f"  Postgres doesn't run as root: made {names} traversable for its account")
        is_new = self.postgres.initialise()
        result = self._start_server(self.postgres, "CYLLM_DATABASE_URL")
        self.postgres.ensure_database()
        return "created and ready" if is_new else result

    def _start_server(self, server: EmbeddedServer | None, setting: str) -> str:
        if server is None:
            return f"not started, {setting} is set"
        program = server.program()
        self.supervisor.start(program)
        self.supervisor.wait_until(program.name, server.is_ready, timeout_s=START_TIMEOUT_S)
        return "ready"

    def _prepare_model(self, _: Stage) -> str:
        folder = environment.model_folder(self.local)
        if not self.local.bundled_model:
            return f"nothing to unpack, {environment.served_model(self.local)} is served"
        return f"unpacked into {display_path(folder)}" if prepare_model(folder) else "complete"

    def _start_worker(self, _: Stage) -> str:
        self.supervisor.start(programs.worker_program(self.local, self.platform))
        return "started, will load in the background"

    def _migrate(self, _: Stage) -> str:
        (self.local.state_dir / "static").mkdir(parents=True, exist_ok=True)
        count = migrate(self.platform)
        environment.publish_addresses(self.local, self.platform)
        return f"{count} migrations applied" if count else "up to date"

    def _provision_demo(self, _: Stage) -> str:
        from deploy.local.demo.demo_tenant import provision_demo  # models need Django to be set up

        messages: list[str] = []
        demo = provision_demo(
            path=self.local.state_dir / environment.DEMO_FILE,
            base_url=self.local.base_url,
            models=environment.model_sources(self.local),
            say=messages.append,
        )
        close_connection()
        self._key = demo.key
        return "; ".join(messages) or "already exists"

    def _start_gateway(self, _: Stage) -> str:
        self.supervisor.start(programs.celery_program(self.platform))
        self.supervisor.start(programs.beat_program(self.local, self.platform))
        self.supervisor.start(programs.gateway_program(self.local, self.platform))
        live = f"{self.local.base_url}/health/live"
        self.supervisor.wait_until(
            "gateway", lambda: smoke_test.fetch_status(live) == 200, timeout_s=GATEWAY_TIMEOUT_S
        )
        return f"ready at {self.local.base_url}"

    def _start_training(self, _: Stage) -> str:
        models = trainable_models(self.platform["CYLLM_TRAINING_MODELS"])
        if not models:
            return "not started, no model can be fine-tuned"
        self.supervisor.start(programs.training_program(self.platform))
        return f"started, fine-tunes {', '.join(models)}"

    def _wait_for_worker(self, stage: Stage) -> str:
        server = "the embedded Valkey" if self.valkey else "the server in CYLLM_REDIS_URL"
        with redis.Redis.from_url(self.redis_url, socket_timeout=5, socket_connect_timeout=5) as client:
            reader = HeartbeatReader(client, environment.worker_id(self.local), server=server)
            heartbeat = self._wait_for_heartbeat(reader, stage)
        self._wait_until_ready()
        context = f"{heartbeat.max_model_len} tokens" if heartbeat.max_model_len else "unknown"
        return f"ready ({heartbeat.engine}, {heartbeat.hardware}, context {context})"

    def _wait_for_heartbeat(self, reader: HeartbeatReader, stage: Stage) -> Heartbeat:
        while (heartbeat := reader.read()) is None or heartbeat.state is not WorkerState.READY:
            if self.supervisor.pid("worker") is None:
                raise ProgramFailedError(self.supervisor.describe_failure("worker"))
            stage.note(heartbeat.stage if heartbeat else "starting")
            self.supervisor.poll()
            time.sleep(WATCH_S)
        return heartbeat

    def _wait_until_ready(self) -> None:
        ready = f"{self.local.base_url}/health/ready"
        deadline = time.monotonic() + READY_TIMEOUT_S
        while smoke_test.fetch_status(ready) != 200:
            if time.monotonic() > deadline:
                body = smoke_test.fetch_body(ready) or "no response"
                raise ProgramFailedError(
                    f"the gateway was not ready {READY_TIMEOUT_S:.0f} s after its worker; {ready}: {body}"
                )
            self.supervisor.poll()
            time.sleep(WATCH_S)

    def _send_request(self, _: Stage) -> str:
        model = environment.served_model(self.local)
        completion = smoke_test.ask(f"{self.local.base_url}/v1", key=self._key, model=model)
        self._completion = completion
        return f"{completion.tokens} tokens, the first after {completion.first_token_s:.2f} s, complete"


def display_path(path: Path) -> str:
    """Return the path as a user would type it in the checkout."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
