"""The programs of the local stack: embedded servers, inference worker, Celery and gateway."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from deploy.local import environment
from deploy.local.files import load_or_create_secret
from deploy.local.processes.supervisor import Program
from deploy.local.servers.ports import free_port
from deploy.local.servers.postgres import EmbeddedPostgres
from deploy.local.servers.valkey import EmbeddedValkey
from deploy.local.settings import ROOT, LocalSettings

DRAIN_S = 30


def embedded_postgres(local: LocalSettings) -> EmbeddedPostgres | None:
    """Return the embedded Postgres, or None if the settings name another server."""
    if local.database_url:
        return None
    password = load_or_create_secret(local.state_dir / "postgres.password")
    return EmbeddedPostgres(data_dir=local.state_dir / "postgres", port=free_port(), password=password)


def embedded_valkey(local: LocalSettings) -> EmbeddedValkey | None:
    """Return the embedded Valkey, or None if the settings name another server."""
    if local.redis_url:
        return None
    password = load_or_create_secret(local.state_dir / "valkey.password")
    return EmbeddedValkey(data_dir=local.state_dir / "valkey", port=free_port(), password=password)


def worker_program(local: LocalSettings, platform: Mapping[str, str]) -> Program:
    """Return the inference worker."""
    return Program(
        name="worker",
        argv=[sys.executable, "-m", "inference_worker.runtime"],
        env=environment.worker_environment(local, platform),
        cwd=ROOT,
        stop_timeout_s=DRAIN_S + 15,
    )


def celery_program(platform: Mapping[str, str]) -> Program:
    """Return the Celery worker."""
    options = ("--concurrency", "2", "--loglevel", "INFO", "--without-gossip", "--without-mingle")
    return Program(
        name="celery",
        argv=[*(sys.executable, "-m", "celery", "-A", "cyllm_site", "worker"), *options],
        env=platform,
        cwd=ROOT,
    )


def training_program(platform: Mapping[str, str]) -> Program:
    """Return the training worker: a Celery worker of the training queue, which runs one job at a time."""
    return Program(
        name="training",
        argv=[sys.executable, "-m", "celery", "-A", "cyllm_site", "worker", *training_options("local")],
        env=platform,
        cwd=ROOT,
        stop_timeout_s=DRAIN_S + 15,  # for the checkpoint of a running job
    )


def training_options(name: str, worker_class: str = "default") -> tuple[str, ...]:
    """Return the options of a Celery worker for the jobs of a class. Nothing is forked.

    One thread may validate files; the other one receives doorbells, and jobs run in a thread of their own.
    """
    return (
        *("--hostname", f"training-{name}@%h", "--queues", f"training.{worker_class},validation"),
        *("--pool", "threads", "--concurrency", "2"),
        *("--loglevel", "INFO", "--without-gossip", "--without-mingle"),
    )


def beat_program(local: LocalSettings, platform: Mapping[str, str]) -> Program:
    """Return Celery's beat. The supervisor restarts it, which a Celery worker with ``-B`` would not do."""
    schedule = local.state_dir / "run" / "celerybeat-schedule"
    return Program(
        name="beat",
        argv=[
            *(sys.executable, "-m", "celery", "-A", "cyllm_site", "beat", "-s", str(schedule)),
            *("--pidfile=", "--loglevel", "INFO"),
        ],
        env=platform,
        cwd=ROOT,
    )


def gateway_program(local: LocalSettings, platform: Mapping[str, str]) -> Program:
    """Return the gateway."""
    return Program(
        name="gateway",
        argv=[
            *(sys.executable, "-m", "cyllm_site.serve"),
            *("--port", str(local.port), "--graceful-s", str(DRAIN_S)),
        ],
        env=platform,
        cwd=ROOT,
        stop_timeout_s=DRAIN_S + 30,  # detached requests get another 28 s after all others
    )
