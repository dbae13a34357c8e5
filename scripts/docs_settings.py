"""Writes docs/settings.md out of the settings trees; ``--check`` fails if it is not current."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

# The repository's root has to be on the path for what follows.
from cyllm_site.env import PREFIX, Settings  # noqa: E402
from deploy.local.settings import LocalSettings  # noqa: E402
from inference_worker.runtime.settings import PREFIX as WORKER_PREFIX  # noqa: E402
from inference_worker.runtime.settings import WorkerSettings  # noqa: E402
from scripts.generated import write_or_check  # noqa: E402

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
    if isinstance(value, tuple):
        value = ",".join(map(str, value))
    return "" if value in (None, "") else f"`{value}`"


def _bounds(field: FieldInfo) -> Iterator[str]:
    for bound in field.metadata:
        match bound:
            case Ge(ge=least):
                yield f"≥ {least}"
            case Gt(gt=least):
                yield f"> {least}"
            case Le(le=most):
                yield f"≤ {most}"
            case Lt(lt=most):
                yield f"< {most}"
            case MinLen(min_length=least):
                yield f"{least} characters or more"
            case MaxLen(max_length=most):
                yield f"{most} characters at most"


def _accepted(field: FieldInfo) -> str:
    annotation: Any = field.annotation
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    if annotation is bool:
        return "`true`, `false`"
    return ", ".join(_bounds(field))


def _row(name: str, field: FieldInfo) -> str:
    description = (field.description or "").replace("|", "/")
    return f"| `{name}` | {_default(field.default)} | {_accepted(field)} | {description} |"


HEADER = ["| name | default | accepted | meaning |", "|---|---|---|---|"]


def _table(prefix: str, tree: type[BaseSettings]) -> list[str]:
    fields = tree.model_fields.items()
    return [*HEADER, *(_row(field.alias or prefix + name.upper(), field) for name, field in fields)]


def page() -> str:
    """The whole page."""
    lines = [HEAD]
    for title, text, prefix, tree in TREES:
        lines += [f"## {title}", "", text, "", *_table(prefix, tree), ""]
    port = LocalSettings.model_fields["port"]
    lines += ["## The local launcher", "", "`make run` alone reads this one:", ""]
    lines += [*HEADER, _row("CYLLM_PORT", port), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(write_or_check(PAGE, page(), sys.argv[1:]))
