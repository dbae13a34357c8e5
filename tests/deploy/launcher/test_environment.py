"""Environment of the stack's processes, and of commands beside a running stack."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.__main__ import next_steps
from deploy.local.environment import (
    LOCK_FILE,
    load_addresses,
    model_folder,
    model_sources,
    needs_servers,
    platform_environment,
    publish_addresses,
    served_model,
    withdraw_addresses,
    worker_environment,
    worker_id,
)
from deploy.local.files import load_or_create_secret, read_env, write_env
from deploy.local.processes.lock import Lock
from deploy.local.settings import ROOT, LocalSettings

ADDRESSES = {
    "CYLLM_DATABASE_URL": "postgresql://user:p%27w@127.0.0.1:1/none",
    "CYLLM_REDIS_URL": "redis://:pw@127.0.0.1:1/0",
    "CYLLM_SECRET_KEY": "k" * 40,
}


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalSettings:
    """Default settings of a launcher in a temporary folder."""
    for name in list(os.environ):
        if name.startswith("CYLLM_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CYLLM_STATE_DIR", str(tmp_path))
    return LocalSettings()


def _platform(local: LocalSettings) -> dict[str, str]:
    return platform_environment(
        local, database_url=ADDRESSES["CYLLM_DATABASE_URL"], redis_url=ADDRESSES["CYLLM_REDIS_URL"]
    )


def test_the_secret_key_is_created_once_and_private(local: LocalSettings) -> None:
    first = _platform(local)["CYLLM_SECRET_KEY"]
    assert len(first) >= 32
    assert _platform(local)["CYLLM_SECRET_KEY"] == first
    assert (local.state_dir / "secret_key").stat().st_mode & 0o777 == 0o600


def test_the_workers_environment_has_no_database_address_and_no_secret_key(local: LocalSettings) -> None:
    worker = worker_environment(local, _platform(local))
    assert "CYLLM_DATABASE_URL" not in worker
    assert "CYLLM_SECRET_KEY" not in worker
    assert worker["CYLLM_REDIS_URL"] == ADDRESSES["CYLLM_REDIS_URL"]
    assert worker["CYLLM_WORKER_MODEL"] == "smollm2-135m-instruct"
    assert Path(worker["CYLLM_WORKER_MODEL_PATH"]) == model_folder(local)
    assert worker["CYLLM_WORKER_TOOL_PARSER"] == "hermes"
    assert "<tool_call>" in Path(worker["CYLLM_WORKER_CHAT_TEMPLATE"]).read_text()
    own = {**_platform(local), "CYLLM_WORKER_TOOL_PARSER": ""}
    assert worker_environment(local, own)["CYLLM_WORKER_TOOL_PARSER"] == ""


def test_another_model_replaces_the_bundled_one(
    local: LocalSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CYLLM_WORKER_MODEL_PATH", str(tmp_path / "other-model"))
    own = LocalSettings()
    assert own.bundled_model is False
    assert served_model(own) == "other-model"
    worker = worker_environment(own, _platform(own))
    assert worker["CYLLM_WORKER_MODEL_PATH"] == str(tmp_path / "other-model")
    assert "CYLLM_WORKER_TOOL_PARSER" not in worker
    assert _platform(own)["CYLLM_TRAINING_MODELS"] == f"other-model={tmp_path / 'other-model'}"


def test_the_served_model_can_be_fine_tuned_unless_it_has_no_folder(
    local: LocalSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _platform(local)["CYLLM_TRAINING_MODELS"] == f"smollm2-135m-instruct={model_folder(local)}"
    monkeypatch.setenv("CYLLM_WORKER_ENGINE", "remote")
    assert _platform(LocalSettings())["CYLLM_TRAINING_MODELS"] == ""
    monkeypatch.setenv("CYLLM_TRAINING_MODELS", "big=/models/big")
    assert _platform(LocalSettings())["CYLLM_TRAINING_MODELS"] == "big=/models/big"


def test_adapters_are_registered_and_listed_with_the_model(
    local: LocalSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(model_sources(local)) == ["smollm2-135m-instruct"]
    assert "Adapters" not in next_steps(local)
    monkeypatch.setenv("CYLLM_WORKER_ADAPTERS", "ft:one=/adapters/one,ft:two=/adapters/two")
    own = LocalSettings()
    assert model_sources(own) == {
        "smollm2-135m-instruct": str(model_folder(own)),
        "ft:one": "/adapters/one",
        "ft:two": "/adapters/two",
    }
    assert "Adapters, to use as the model's name: ft:one, ft:two\n" in next_steps(own)
    assert worker_environment(own, _platform(own))["CYLLM_WORKER_ADAPTERS"].startswith("ft:one=")


@pytest.mark.parametrize(("setting", "name"), [(None, "local-1"), ("", "local-1"), ("rack-7", "rack-7")])
def test_launcher_and_worker_agree_on_the_workers_name(
    local: LocalSettings, monkeypatch: pytest.MonkeyPatch, setting: str | None, name: str
) -> None:
    if setting is not None:
        monkeypatch.setenv("CYLLM_WORKER_ID", setting)
    own = LocalSettings()
    assert worker_id(own) == name
    assert worker_environment(own, _platform(own))["CYLLM_WORKER_ID"] == name


def test_a_command_uses_a_running_stack_except_for_its_own_settings(
    local: LocalSettings,
) -> None:
    environ = {"CYLLM_STATE_DIR": str(local.state_dir), "CYLLM_REDIS_URL": "redis://elsewhere/0"}
    with Lock(local.state_dir / LOCK_FILE):
        publish_addresses(local, _platform(local))
        assert load_addresses(environ) is None
    assert environ["CYLLM_DATABASE_URL"] == ADDRESSES["CYLLM_DATABASE_URL"]
    assert environ["CYLLM_REDIS_URL"] == "redis://elsewhere/0"
    assert (local.state_dir / "stack.env").stat().st_mode & 0o777 == 0o600


def test_the_addresses_of_a_killed_stack_are_ignored(local: LocalSettings) -> None:
    publish_addresses(local, _platform(local))
    problem = load_addresses({"CYLLM_STATE_DIR": str(local.state_dir)})
    assert problem is not None
    assert "No local stack is running" in problem
    assert "make run" in problem


def test_a_stopped_stack_removes_its_addresses(local: LocalSettings) -> None:
    publish_addresses(local, _platform(local))
    withdraw_addresses(local)
    assert not (local.state_dir / "stack.env").exists()


def manage(state_dir: Path, *arguments: str, key: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command without settings but a secret key, and without a stack in this folder."""
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("CYLLM_", "DJANGO_"))
    }
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env={**environ, "CYLLM_STATE_DIR": str(state_dir), "CYLLM_SECRET_KEY": key},
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_needs_neither_stack_nor_settings(tmp_path: Path) -> None:
    process = manage(tmp_path, "audit", "purge", "--help")
    assert (process.returncode, process.stderr) == (0, "")
    assert "--before" in process.stdout


@pytest.mark.parametrize(
    ("arguments", "needs_stack"),
    [
        ((), False),
        (("help", "keys"), False),
        (("keys", "-h"), False),
        (("keys", "list"), True),
        (("datasets", "check", "train.jsonl"), False),
        (("audit", "verify", "--file", "export.jsonl"), False),
        (("audit", "verify"), True),
    ],
)
def test_only_help_and_checks_of_files_need_no_stack(arguments: tuple[str, ...], needs_stack: bool) -> None:
    assert needs_servers(list(arguments)) is needs_stack


def test_datasets_are_checked_without_a_stack(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"messages": [{"role": "user", "content": "Hello"}]}\n')
    process = manage(tmp_path, "datasets", "check", str(path))
    assert process.returncode == 1
    assert "line 1" in process.stdout
    assert process.stderr == ""


def test_an_auditor_verifies_an_export_with_the_key_alone(tmp_path: Path) -> None:
    path = tmp_path / "export.jsonl"
    path.write_text("no export\n")
    process = manage(tmp_path, "audit", "verify", "--file", str(path), key="k" * 50)
    assert process.returncode == 1
    assert "is not an export" in process.stderr
    without_key = manage(tmp_path, "audit", "verify", "--file", str(path))
    assert without_key.returncode == 1
    assert without_key.stderr == "Set CYLLM_SECRET_KEY to the key of the platform that wrote the file.\n"


def test_a_command_without_stack_and_settings_names_the_remedy(tmp_path: Path) -> None:
    process = manage(tmp_path, "check")
    assert process.returncode == 1
    assert "CYLLM_DATABASE_URL, CYLLM_REDIS_URL, CYLLM_SECRET_KEY are not set" in process.stderr
    assert "make run" in process.stderr
    assert "Traceback" not in process.stderr


def test_a_shell_reads_an_environment_file_as_it_was_written(tmp_path: Path) -> None:
    values = {"ONE": 'a b$c`d"e', "TWO": "postgresql://u:p%27@h/d?x=1&y=2"}
    write_env(tmp_path / "it.env", values)
    assert read_env(tmp_path / "it.env") == values
    script = f'set -a; . {tmp_path}/it.env; printf "%s\\n" "$ONE" "$TWO"'
    process = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert process.stdout.splitlines() == list(values.values())
    with pytest.raises(ValueError, match="THREE"):
        write_env(tmp_path / "it.env", {"THREE": "it's"})


def test_an_empty_secret_file_is_filled(tmp_path: Path) -> None:
    (tmp_path / "key").touch(mode=0o644)
    secret = load_or_create_secret(tmp_path / "key")
    assert len(secret) == 43
    assert load_or_create_secret(tmp_path / "key") == secret
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
