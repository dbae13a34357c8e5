"""Levels and format of the logs come from settings: for all of the platform's loggers or individual ones."""

from __future__ import annotations

import ast
import json
import logging
from pathlib import Path

import httpx
import pytest
from pydantic import TypeAdapter, ValidationError

from cyllm_site.settings.log import logging_settings
from deploy.local.processes.supervisor import Supervisor
from inference_worker.runtime.process.logs import configure_logging
from inference_worker.runtime.settings import WorkerSettings
from inference_worker.telemetry.log_levels import LOGGERS, LogLevels
from tests.site_server import running_site

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ("api", "cyllm_site", "inference_worker", "tenants", "training")


def _logger_names(path: Path) -> set[str]:
    """Return the names in calls of ``getLogger`` in a module."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return {
        str(argument.value)
        for call in calls
        if isinstance(call.func, ast.Attribute) and call.func.attr == "getLogger"
        for argument in call.args
        if isinstance(argument, ast.Constant)
    }


def test_the_settings_know_every_logger_of_the_platform() -> None:
    modules = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    names = set().union(*map(_logger_names, modules))
    assert {name for name in names if name.startswith("cyllm")} == LOGGERS


@pytest.mark.criterion("4.10")
def test_single_loggers_have_levels_of_their_own() -> None:
    levels = {"cyllm.request": "WARNING", "cyllm.training": "DEBUG"}
    loggers = logging_settings("INFO", "json", levels)["loggers"]
    assert {name: loggers[name]["level"] for name in ("cyllm", *levels)} == {"cyllm": "INFO", **levels}
    assert loggers["celery.beat"]["level"] == "WARNING"


@pytest.mark.criterion("4.10")
@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("cyllm.gatway=DEBUG", "did you mean cyllm.gateway?"),
        ("django.request=DEBUG", "no logger 'django.request'"),
        ("cyllm.request=LOUD", "the level of cyllm.request must be one of DEBUG, INFO, WARNING, ERROR"),
        ("cyllm.request", "the level of cyllm.request must be one of"),
    ],
)
def test_an_unknown_logger_or_level_is_refused(text: str, fault: str) -> None:
    with pytest.raises(ValidationError, match=fault.replace("?", r"\?")):
        TypeAdapter(LogLevels).validate_python(text)


@pytest.mark.criterion("4.10")
def test_the_logger_of_a_worker_has_its_level(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CYLLM_WORKER_MODEL", "m")
    monkeypatch.setenv("CYLLM_LOG_LEVELS", "cyllm.worker.frames=DEBUG, cyllm.worker.call=ERROR,")
    loggers = [logging.getLogger(name) for name in ("", "cyllm", "cyllm.worker.frames", "cyllm.worker.call")]
    before = [(logger, logger.level, logger.handlers) for logger in loggers]
    try:
        configure_logging(WorkerSettings())
        levels = [logger.level for logger in loggers]
    finally:
        for logger, level, handlers in before:
            logger.setLevel(level)
            logger.handlers = handlers
    assert levels == [logging.WARNING, logging.INFO, logging.DEBUG, logging.ERROR]


@pytest.mark.criterion("4.10")
@pytest.mark.django_db(transaction=True)
def test_a_server_logs_json_at_the_level_of_each_logger(test_servers: Supervisor, redis_url: str) -> None:
    settings = {
        "CYLLM_LOG_FORMAT": "json",
        "CYLLM_LOG_LEVEL": "WARNING",
        "CYLLM_LOG_LEVELS": "cyllm.request=INFO",
    }
    with running_site(test_servers, "levels-server", **settings) as port:
        reply = httpx.get(f"http://127.0.0.1:{port}/v1/models")
        assert reply.status_code == 401
    lines = test_servers.log_path("levels-server").read_text().splitlines()
    records = [json.loads(line) for line in lines if line.startswith("{")]
    [request] = [entry for entry in records if entry["level"] == "INFO" and "cyllm" in entry["logger"]]
    assert (request["logger"], request["correlation_id"]) == ("cyllm.request", reply.headers["x-request-id"])
