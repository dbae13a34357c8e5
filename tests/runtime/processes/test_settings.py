"""A worker's settings: all faults are reported at once, with the accepted values and without secrets."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cyllm_site.settings import env
from inference_worker.runtime.settings import SettingsError, worker_settings

ROOT = Path(__file__).resolve().parents[3]
GOOD = {"CYLLM_REDIS_URL": "redis://:pw@127.0.0.1:1/0", "CYLLM_WORKER_MODEL": "m"}
SECRET = "hunter2"
BAD_REDIS_URLS = [
    f"redis://:x/{SECRET}@host:6379/0",
    f"redis://:{SECRET}/x@host:6379/0",
    f"redis://:{SECRET}#x@host/0",
    f"redis://:{SECRET}?x@host/0",
    f"redis://:pw@host:{SECRET}/0",
    f"redis://:pw@host/0?socket_timeout={SECRET}",
    f"http://:{SECRET}@host/0",
    f"redis://[{SECRET}/0",
    f"rediss://:pw@host/0?ssl_ca_certs=/nowhere/{SECRET}",
    SECRET,
]
BAD_ENGINE_URLS = [
    f"ftp://u:{SECRET}@host",
    f"http://u:{SECRET}/x@host",
    f"http://[{SECRET}",
    SECRET,
    "http://",
]


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Clear the environment of settings, except a worker's required ones."""
    for name in list(os.environ):
        if name.startswith("CYLLM_"):
            monkeypatch.delenv(name)
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def _settings_error() -> str:
    with pytest.raises(SettingsError) as excinfo:
        worker_settings()
    return str(excinfo.value)


@pytest.mark.criterion("4.4")
def test_every_fault_of_a_worker_is_reported_at_once_with_the_accepted_values(
    environ: pytest.MonkeyPatch,
) -> None:
    environ.delenv("CYLLM_WORKER_MODEL")
    environ.setenv("CYLLM_WORKER_DTYPE", "int7")
    environ.setenv("CYLLM_WORKER_MAX_NUM_SEQS", "0")
    environ.setenv("CYLLM_WORKER_THREAD", "2")
    environ.setenv("CYLLM_WORKER_ZZZZZZZZ", "2")
    lines = _settings_error().splitlines()
    assert lines[1:3] == [
        "  CYLLM_WORKER_THREAD: no such setting; did you mean CYLLM_WORKER_THREADS?",
        "  CYLLM_WORKER_ZZZZZZZZ: no such setting",
    ]
    faults = {line.split(":")[0].strip(): line for line in lines[3:]}
    assert set(faults) == {"CYLLM_WORKER_MODEL", "CYLLM_WORKER_DTYPE", "CYLLM_WORKER_MAX_NUM_SEQS"}
    assert "'float32', 'bfloat16' or 'float16'" in faults["CYLLM_WORKER_DTYPE"]
    assert "(largest number of requests in one batch)" in faults["CYLLM_WORKER_MAX_NUM_SEQS"]


def test_a_worker_ignores_settings_of_the_platform(environ: pytest.MonkeyPatch) -> None:
    environ.setenv("CYLLM_PORT", "8001")
    environ.setenv("CYLLM_SOMETHING_NEWER", "1")
    assert worker_settings().model == "m"


@pytest.mark.criterion("4.4")
@pytest.mark.parametrize("url", BAD_REDIS_URLS)
def test_an_invalid_redis_address_is_reported_and_not_quoted(environ: pytest.MonkeyPatch, url: str) -> None:
    environ.setenv("CYLLM_REDIS_URL", url)
    error = _settings_error()
    assert error.splitlines()[1].startswith("  CYLLM_REDIS_URL: ")
    assert SECRET not in error
    assert SECRET[:4] not in error


@pytest.mark.parametrize("url", BAD_ENGINE_URLS)
def test_an_invalid_engine_address_is_reported_and_not_quoted(environ: pytest.MonkeyPatch, url: str) -> None:
    environ.setenv("CYLLM_WORKER_ENGINE_URL", url)
    error = _settings_error()
    assert "CYLLM_WORKER_ENGINE_URL: not an http:// or https:// address" in error
    assert SECRET not in error


@pytest.mark.parametrize(
    "url", ["rediss://u:p%2Fw@host:6380/1", "unix:///run/redis.sock?db=1", "redis://[::1]:6379/0"]
)
def test_redis_addresses_of_every_kind_are_accepted(environ: pytest.MonkeyPatch, url: str) -> None:
    environ.setenv("CYLLM_REDIS_URL", url)
    assert worker_settings().redis_url == url


@pytest.mark.criterion("4.4")
def test_the_platform_reports_both_addresses_at_once_and_quotes_neither(environ: pytest.MonkeyPatch) -> None:
    environ.setenv("CYLLM_SECRET_KEY", "k" * 40)
    environ.setenv("CYLLM_REDIS_URL", BAD_REDIS_URLS[0])
    environ.setenv("CYLLM_DATABASE_URL", f"postgresql://u:{SECRET}@host:port/name?no_such={SECRET}")
    environ.setenv("CYLLM_WORKER_MODLE", "m")
    with pytest.raises(SettingsError) as excinfo:
        env.settings.__wrapped__()
    lines = str(excinfo.value).splitlines()
    assert [line.split(":")[0].strip() for line in lines[1:]] == [
        *("CYLLM_WORKER_MODLE", "CYLLM_DATABASE_URL", "CYLLM_REDIS_URL")
    ]
    assert "did you mean CYLLM_WORKER_MODEL?" in lines[1]
    assert SECRET not in str(excinfo.value)


def test_a_worker_with_wrong_settings_exits_with_status_2_and_no_traceback(
    environ: pytest.MonkeyPatch,
) -> None:
    environ.setenv("CYLLM_REDIS_URL", BAD_REDIS_URLS[0])
    process = subprocess.run(
        [sys.executable, "-m", "inference_worker.runtime"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 2
    assert "CYLLM_REDIS_URL: " in process.stderr
    assert "Traceback" not in process.stderr
    assert SECRET not in process.stderr
