"""What the processes of the stack are told, and how commands join a running stack."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.__main__ import what_next
from deploy.local.environment import (
    LOCK_FILE,
    model_folder,
    platform_environment,
    served_model,
    served_sources,
    stack_join,
    stack_publish,
    stack_withdraw,
    worker_environment,
    worker_id,
)
from deploy.local.files import read_env, secret, write_env
from deploy.local.processes.lock import Lock
from deploy.local.settings import ROOT, LocalSettings

ADDRESSES = {
    "CYLLM_DATABASE_URL": "postgresql://user:p%27w@127.0.0.1:1/none",
    "CYLLM_REDIS_URL": "redis://:pw@127.0.0.1:1/0",
    "CYLLM_SECRET_KEY": "k" * 40,
}


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalSettings:
    """Settings of a launcher with nothing set but its folder."""
    for name in list(os.environ):
        if name.startswith("CYLLM_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CYLLM_STATE_DIR", str(tmp_path))
    return LocalSettings()


def _platform(local: LocalSettings) -> dict[str, str]:
    return platform_environment(
        local, database_url=ADDRESSES["CYLLM_DATABASE_URL"], redis_url=ADDRESSES["CYLLM_REDIS_URL"]
    )


def test_the_secret_key_is_made_once_and_private(local: LocalSettings) -> None:
    first = _platform(local)["CYLLM_SECRET_KEY"]
    assert len(first) >= 32
    assert _platform(local)["CYLLM_SECRET_KEY"] == first
    assert (local.state_dir / "secret_key").stat().st_mode & 0o777 == 0o600


def test_a_worker_is_told_nothing_of_the_database(local: LocalSettings) -> None:
    told = worker_environment(local, _platform(local))
    assert "CYLLM_DATABASE_URL" not in told
    assert "CYLLM_SECRET_KEY" not in told
    assert told["CYLLM_REDIS_URL"] == ADDRESSES["CYLLM_REDIS_URL"]
    assert told["CYLLM_WORKER_MODEL"] == "smollm2-135m-instruct"
    assert Path(told["CYLLM_WORKER_MODEL_PATH"]) == model_folder(local)
    assert told["CYLLM_WORKER_TOOL_PARSER"] == "hermes"
    assert "<tool_call>" in Path(told["CYLLM_WORKER_CHAT_TEMPLATE"]).read_text()
    own = {**_platform(local), "CYLLM_WORKER_TOOL_PARSER": ""}
    assert worker_environment(local, own)["CYLLM_WORKER_TOOL_PARSER"] == ""


def test_another_model_takes_the_place_of_the_bundled_one(
    local: LocalSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CYLLM_WORKER_MODEL_PATH", str(tmp_path / "other-model"))
    own = LocalSettings()
    assert own.bundled_model is False
    assert served_model(own) == "other-model"
    told = worker_environment(own, _platform(own))
    assert told["CYLLM_WORKER_MODEL_PATH"] == str(tmp_path / "other-model")
    assert "CYLLM_WORKER_TOOL_PARSER" not in told


def test_adapters_are_registered_and_named_beside_the_model(
    local: LocalSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(served_sources(local)) == ["smollm2-135m-instruct"]
    assert "The model's adapters" not in what_next(local)
    monkeypatch.setenv("CYLLM_WORKER_ADAPTERS", "ft:one=/adapters/one,ft:two=/adapters/two")
    own = LocalSettings()
    assert served_sources(own) == {
        "smollm2-135m-instruct": str(model_folder(own)),
        "ft:one": "/adapters/one",
        "ft:two": "/adapters/two",
    }
    assert "ask for: ft:one, ft:two\n" in what_next(own)
    assert worker_environment(own, _platform(own))["CYLLM_WORKER_ADAPTERS"].startswith("ft:one=")


@pytest.mark.parametrize(("given", "used"), [(None, "local-1"), ("", "local-1"), ("rack-7", "rack-7")])
def test_the_launcher_listens_for_the_worker_under_the_name_that_the_worker_has(
    local: LocalSettings, monkeypatch: pytest.MonkeyPatch, given: str | None, used: str
) -> None:
    if given is not None:
        monkeypatch.setenv("CYLLM_WORKER_ID", given)
    own = LocalSettings()
    assert worker_id(own) == used
    assert worker_environment(own, _platform(own))["CYLLM_WORKER_ID"] == used


def test_a_command_joins_a_running_stack_and_keeps_what_is_set(local: LocalSettings) -> None:
    environ = {"CYLLM_STATE_DIR": str(local.state_dir), "CYLLM_REDIS_URL": "redis://elsewhere/0"}
    with Lock(local.state_dir / LOCK_FILE):
        stack_publish(local, _platform(local))
        assert stack_join(environ) is None
    assert environ["CYLLM_DATABASE_URL"] == ADDRESSES["CYLLM_DATABASE_URL"]
    assert environ["CYLLM_REDIS_URL"] == "redis://elsewhere/0"
    assert (local.state_dir / "stack.env").stat().st_mode & 0o777 == 0o600


def test_a_stack_that_was_killed_is_not_joined(local: LocalSettings) -> None:
    stack_publish(local, _platform(local))
    problem = stack_join({"CYLLM_STATE_DIR": str(local.state_dir)})
    assert problem is not None
    assert "No local stack is running" in problem
    assert "make run" in problem


def test_a_stopped_stack_leaves_no_addresses(local: LocalSettings) -> None:
    stack_publish(local, _platform(local))
    stack_withdraw(local)
    assert not (local.state_dir / "stack.env").exists()


def test_a_command_without_stack_and_settings_names_the_remedy(tmp_path: Path) -> None:
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("CYLLM_", "DJANGO_"))
    }
    done = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=ROOT,
        env={**environ, "CYLLM_STATE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "CYLLM_DATABASE_URL, CYLLM_REDIS_URL, CYLLM_SECRET_KEY are not set" in done.stderr
    assert "make run" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_environment_file_is_read_by_a_shell_as_it_was_written(tmp_path: Path) -> None:
    values = {"ONE": 'a b$c`d"e', "TWO": "postgresql://u:p%27@h/d?x=1&y=2"}
    write_env(tmp_path / "it.env", values)
    assert read_env(tmp_path / "it.env") == values
    script = f'set -a; . {tmp_path}/it.env; printf "%s\\n" "$ONE" "$TWO"'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == list(values.values())
    with pytest.raises(ValueError, match="THREE"):
        write_env(tmp_path / "it.env", {"THREE": "it's"})


def test_an_empty_secret_file_is_filled(tmp_path: Path) -> None:
    (tmp_path / "key").touch(mode=0o644)
    made = secret(tmp_path / "key")
    assert len(made) == 43
    assert secret(tmp_path / "key") == made
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
