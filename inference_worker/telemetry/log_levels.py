"""Levels of individual loggers: parsing of the setting ``CYLLM_LOG_LEVELS``."""

from __future__ import annotations

import difflib
from typing import Annotated

from pydantic import BeforeValidator
from pydantic_settings import NoDecode

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
# Every logger of the platform. Those of libraries have fixed levels: their messages may quote clients' data.
LOGGERS = frozenset(
    {
        "cyllm",
        "cyllm.admin_api",
        "cyllm.audit",
        "cyllm.changes",
        "cyllm.console.live",
        "cyllm.directory",
        "cyllm.facts",
        "cyllm.files",
        "cyllm.gateway",
        "cyllm.gateway.admission",
        "cyllm.gateway.changes",
        "cyllm.gateway.database",
        "cyllm.gateway.detached",
        "cyllm.gateway.engine",
        "cyllm.gateway.files",
        "cyllm.gateway.jobs",
        "cyllm.gateway.quota",
        "cyllm.gateway.relay",
        "cyllm.gateway.streams",
        "cyllm.ledger",
        "cyllm.quotas",
        "cyllm.registry.adapters",
        "cyllm.relay",
        "cyllm.request",
        "cyllm.site",
        "cyllm.site.guard",
        "cyllm.site.pages",
        "cyllm.site.sign_in",
        "cyllm.site.tasks",
        "cyllm.tasks",
        "cyllm.training",
        "cyllm.training.archives",
        "cyllm.training.publishing",
        "cyllm.training.trainer",
        "cyllm.training.verification",
        "cyllm.transport",
        "cyllm.worker",
        "cyllm.worker.adapters",
        "cyllm.worker.call",
        "cyllm.worker.calls",
        "cyllm.worker.engine",
        "cyllm.worker.frames",
        "cyllm.worker.grammars",
        "cyllm.worker.heartbeat",
        "cyllm.worker.remote",
    }
)


def _log_levels(value: object) -> object:
    if not isinstance(value, str):
        return value
    return dict(_log_level(part.strip()) for part in value.split(",") if part.strip())


def _log_level(part: str) -> tuple[str, str]:
    name, _, level = (text.strip() for text in part.partition("="))
    if name not in LOGGERS:
        near = difflib.get_close_matches(name, LOGGERS, 1)
        hint = f"did you mean {near[0]}?" if near else "its loggers are cyllm and those below it"
        raise ValueError(f"the platform has no logger {name!r}; {hint}")
    if level not in LEVELS:
        raise ValueError(f"the level of {name} must be one of {', '.join(LEVELS)}")
    return name, level


# Comma-separated, not JSON.
LogLevels = Annotated[dict[str, str], NoDecode, BeforeValidator(_log_levels)]
LOG_LEVELS_TEXT = "levels of individual loggers, such as cyllm.request=WARNING,cyllm.training=DEBUG"
