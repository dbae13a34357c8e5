"""Servers and accounts that are not the launcher's own: what it says when they fail it."""

from __future__ import annotations

import os
import pwd
import time
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from deploy.local.demo.heartbeat_listener import Listener, RedisSilentError
from deploy.local.servers.accounts import AccountError, database_account
from deploy.local.servers.external_servers import ExternalServerError, database_probe, redis_probe
from deploy.local.servers.ports import free_port
from inference_worker.protocol import codec, names
from inference_worker.protocol.messages import Heartbeat, WorkerState

HEARTBEAT = Heartbeat(
    worker_id="w",
    boot="b",
    channel="c",
    state=WorkerState.LOADING,
    models=("m",),
    max_model_len=0,
    running=0,
    waiting=0,
    stage="importing",
    stage_s=1.0,
    loop_lag_s=0.0,
    engine="vllm",
    hardware="CPU",
    written_at=1.0,
)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def test_servers_that_answer_are_accepted(postgres_url: str, redis_url: str) -> None:
    database_probe(postgres_url)
    redis_probe(redis_url)


def test_a_wrong_password_is_told_by_the_servers_and_not_repeated(postgres_url: str, redis_url: str) -> None:
    user, _, server = postgres_url.rpartition("@")
    wrong = user.rpartition(":")[0] + ":hunter2@" + server
    with pytest.raises(
        ExternalServerError, match=r"CYLLM_DATABASE_URL.*password authentication failed"
    ) as told:
        database_probe(wrong)
    assert "hunter2" not in str(told.value)
    with pytest.raises(ExternalServerError, match="CYLLM_REDIS_URL names") as told:
        redis_probe("redis://:hunter2@" + redis_url.rpartition("@")[2])
    assert "hunter2" not in str(told.value)


def test_a_host_without_a_server_is_told() -> None:
    port = free_port()
    with pytest.raises(ExternalServerError, match=r"CYLLM_DATABASE_URL.*refused"):
        database_probe(f"postgresql://u:p@127.0.0.1:{port}/x")
    with pytest.raises(ExternalServerError, match=r"CYLLM_REDIS_URL.*refused"):
        redis_probe(f"redis://127.0.0.1:{port}/0")


def test_redis_that_goes_away_is_waited_for_and_then_given_up() -> None:
    with redis.Redis(port=free_port(), retry=Retry(NoBackoff(), retries=0)) as gone:
        listener = Listener(gone, "w", server="the server in CYLLM_REDIS_URL", patience_s=0.2)
        assert listener.heartbeat() is None
        time.sleep(0.3)
        with pytest.raises(RedisSilentError, match="CYLLM_REDIS_URL has not answered for"):
            listener.heartbeat()


def test_a_heartbeat_of_another_version_is_no_heartbeat(redis_client: redis.Redis) -> None:
    listener = Listener(redis_client, "w", server="x")
    assert listener.heartbeat() is None
    redis_client.set(names.worker_key("w"), b"\xc1 not ours")
    assert listener.heartbeat() is None
    redis_client.set(names.worker_key("w"), codec.encode(HEARTBEAT))
    assert listener.heartbeat() == HEARTBEAT


@needs_root
def test_root_without_an_account_for_postgres_is_told_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(name: str) -> pwd.struct_passwd:
        raise KeyError(name)

    monkeypatch.setattr(pwd, "getpwnam", nobody)
    with pytest.raises(AccountError, match=r"useradd --system postgres.*CYLLM_DATABASE_URL"):
        database_account(tmp_path / "new")
