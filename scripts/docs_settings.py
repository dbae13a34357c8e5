"""Writes docs/settings.md out of the settings trees; ``--check`` fails if it is not current."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from cyllm_site.env import PREFIX, Settings
from deploy.local.settings import ROOT, LocalSettings
from inference_worker.runtime.settings import PREFIX as WORKER_PREFIX
from inference_worker.runtime.settings import WorkerSettings

PAGE = ROOT / "docs" / "settings.md"
HEAD = """# Settings

Written by `scripts/docs_settings.py` from the code; don't edit. Every setting is an environment variable.
A process names everything that is wrong at its start, and then ends: wrong values with what is accepted,
unknown names with the nearest known one. The platform looks at all names that begin with `CYLLM_`, a worker
at those that begin with `CYLLM_WORKER_`.
Times are in seconds, sizes in bytes where the name does not say otherwise.
"""
TREES: tuple[tuple[str, str, str, type[BaseSettings]], ...] = (
    ("The platform", "Gateway, Celery and commands.", PREFIX, Settings),
    (
        "Inference workers",
        "These are all that a worker knows; it has no access to the database.",
        WORKER_PREFIX,
        WorkerSettings,
    ),
)


def _default(value: object) -> str:
    if value is PydanticUndefined:
        return "**required**"
    if isinstance(value, Path) and value.is_absolute():
        value = value.relative_to(ROOT)
    return "" if value in (None, "") else f"`{value}`"


def _row(name: str, default: object, description: str) -> str:
    return f"| `{name}` | {_default(default)} | {description.replace('|', '/')} |"


def _table(prefix: str, tree: type[BaseSettings]) -> list[str]:
    rows = ["| name | default | meaning |", "|---|---|---|"]
    for name, field in tree.model_fields.items():
        rows.append(_row(field.alias or prefix + name.upper(), field.default, field.description or ""))
    return rows


def page() -> str:
    """The whole page."""
    lines = [HEAD]
    for title, text, prefix, tree in TREES:
        lines += [f"## {title}", "", text, "", *_table(prefix, tree), ""]
    port = LocalSettings.model_fields["port"]
    lines += ["## The local launcher", "", "`make run` alone reads this one:", ""]
    lines += ["| name | default | meaning |", "|---|---|---|"]
    lines += [_row("CYLLM_PORT", port.default, port.description or ""), ""]
    return "\n".join(lines)


def main(check: bool) -> int:
    """0 if the page is current or was written."""
    wanted = page()
    if not check:
        PAGE.write_text(wanted, encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == wanted:
        return 0
    print(f"{os.path.relpath(PAGE)} is not current: run python scripts/docs_settings.py")
    return 1


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
