"""Errors of external servers, heartbeats and accounts are reported with a remedy."""

from __future__ import annotations

import os
import pwd
import time
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from deploy.local.processes.worker_heartbeat import HeartbeatReader, RedisSilentError
from deploy.local.servers.accounts import AccountError, database_account
from deploy.local.servers.external_servers import ExternalServerError, probe_database, probe_redis
from deploy.local.servers.ports import free_port
from inference_worker.protocol import codec, names
from inference_worker.protocol.messages import WorkerState
from tests.heartbeats import ready_heartbeat

HEARTBEAT = ready_heartbeat(
    "m", worker_id="w", state=WorkerState.LOADING, stage="importing", stage_s=1.0, hardware="CPU"
)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def test_working_servers_are_accepted(postgres_url: str, redis_url: str) -> None:
    probe_database(postgres_url)
    probe_redis(redis_url)


def test_a_wrong_password_is_reported_and_not_repeated(postgres_url: str, redis_url: str) -> None:
    user, _, server = postgres_url.rpartition("@")
    wrong = user.rpartition(":")[0] + ":hunter2@" + server
    with pytest.raises(
        ExternalServerError, match=r"CYLLM_DATABASE_URL.*password authentication failed"
    ) as failure:
        probe_database(wrong)
    assert "hunter2" not in str(failure.value)
    with pytest.raises(ExternalServerError, match="in CYLLM_REDIS_URL can't be used") as failure:
        probe_redis("redis://:hunter2@" + redis_url.rpartition("@")[2])
    assert "hunter2" not in str(failure.value)


def test_a_refused_connection_is_reported() -> None:
    port = free_port()
    with pytest.raises(ExternalServerError, match=r"CYLLM_DATABASE_URL.*refused"):
        probe_database(f"postgresql://u:p@127.0.0.1:{port}/x")
    with pytest.raises(ExternalServerError, match=r"CYLLM_REDIS_URL.*refused"):
        probe_redis(f"redis://127.0.0.1:{port}/0")


def test_an_unavailable_redis_is_retried_until_patience_runs_out() -> None:
    with redis.Redis(port=free_port(), retry=Retry(NoBackoff(), retries=0)) as client:
        reader = HeartbeatReader(client, "w", server="the server in CYLLM_REDIS_URL", patience_s=0.2)
        assert reader.read() is None
        time.sleep(0.3)
        with pytest.raises(RedisSilentError, match="CYLLM_REDIS_URL has not responded for"):
            reader.read()


def test_a_heartbeat_of_another_version_is_ignored(redis_client: redis.Redis) -> None:
    reader = HeartbeatReader(redis_client, "w", server="x")
    assert reader.read() is None
    redis_client.set(names.worker_key("w"), b"\xc1 not ours")
    assert reader.read() is None
    redis_client.set(names.worker_key("w"), codec.encode(HEARTBEAT))
    assert reader.read() == HEARTBEAT


@needs_root
def test_root_without_an_account_for_postgres_gets_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find_no_account(name: str) -> pwd.struct_passwd:
        raise KeyError(name)

    monkeypatch.setattr(pwd, "getpwnam", find_no_account)
    with pytest.raises(AccountError, match=r"useradd --system postgres.*CYLLM_DATABASE_URL"):
        database_account(tmp_path / "new")
