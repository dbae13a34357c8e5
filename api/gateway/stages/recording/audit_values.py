"""Values of requests that audit records may hold: names that the platform knows, and names of models."""

from __future__ import annotations

import re
from functools import cache

from api.openai.errors.quotas import LIMIT_HOLDERS
from api.openai.schemas.policies import Wire
from tenants.quotas.texts import NAMES

# Names that no schema declares: of query and form parameters, and of limits.
OTHER_NAMES = frozenset(
    {
        *("after", "before", "file", "include", "limit", "metadata", "order", "purpose"),
        *("starting_after", "stream", "body"),
        *LIMIT_HOLDERS.values(),
        *(name.replace(" ", "_") for name in NAMES.values()),
    }
)
OMITTED = "…"
MAX_LENGTH = 200
_STEP = re.compile(r"[^.\[\]]+")
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]*", re.ASCII)
# A key by mistake, or a number long enough to identify a person or a card.
_PRIVATE = re.compile(r"sk-|[0-9](?:[ -]?[0-9]){11}", re.IGNORECASE)


def audited_param(param: str | None) -> str | None:
    """Return the path of a parameter with the names that the client chose replaced by ``…``."""
    if param is None:
        return None
    return _STEP.sub(lambda step: step[0] if _is_known(step[0]) else OMITTED, param[: 2 * MAX_LENGTH])[
        :MAX_LENGTH
    ]


def audited_model(name: str | None) -> str | None:
    """Return the client's name of a model if it looks like one, else ``…``: people paste anything."""
    if not name:
        return None
    is_name = len(name) <= MAX_LENGTH and _MODEL.fullmatch(name) and not _PRIVATE.search(name)
    return name if is_name else OMITTED


def _is_known(step: str) -> bool:
    return step in OTHER_NAMES or step in _declared_names() or (step.isdecimal() and len(step) < 7)


@cache
def _declared_names() -> frozenset[str]:
    """Return the names of the fields of all schemas."""
    names: set[str] = set()
    schemas: list[type[Wire]] = [Wire]
    while schemas:
        schema = schemas.pop()
        schemas += schema.__subclasses__()
        for name, field in schema.model_fields.items():
            names |= {name, field.alias or name}
    return frozenset(names)
