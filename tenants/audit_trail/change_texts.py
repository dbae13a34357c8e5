"""Administrative changes as lines of text for commands, with the names that the audit trail stores."""

from __future__ import annotations

import json
import re

from tenants.models import AdminAudit

# ISO times in the audit trail; people read them to the second.
UTC_TIME = re.compile(r"^(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?\+00:00$")


def change_lines(change: AdminAudit) -> list[str]:
    """Return ``name: before → after`` lines, or the non-empty values if the object was created or removed."""
    before, after = change.before, change.after
    if before is not None and after is not None:
        return [f"{name}: {_format(before.get(name))} → {_format(after[name])}" for name in after]
    values = after or before or {}
    return [f"{name}: {_format(value)}" for name, value in values.items() if value not in (None, "", [])]


def _format(value: object) -> str:
    if isinstance(value, str) and value:
        return UTC_TIME.sub(r"\1 \2", value)
    if isinstance(value, list) and value:
        return ", ".join(map(_format, value))
    return "-" if value in (None, "", []) else json.dumps(value, ensure_ascii=False)
