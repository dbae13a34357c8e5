"""Tool calls in a chat stream: their deltas, buffered until the name of the function is complete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class CallDelta:
    """One element of a delta's ``tool_calls``; absent fields are empty."""

    position: int
    call_id: str
    name: str
    arguments: str


def call_deltas(tool_calls: Sequence[Mapping[str, Any]]) -> list[CallDelta]:
    """Return the deltas of a chunk. An element without an index is numbered by its position."""
    deltas = []
    for position, call in enumerate(tool_calls):
        index, function = call.get("index"), call.get("function") or {}
        deltas.append(
            CallDelta(
                position=position if index is None else index,
                call_id=call.get("id") or "",
                name=function.get("name") or "",
                arguments=function.get("arguments") or "",
            )
        )
    return deltas


@dataclass(slots=True)
class PendingCall:
    """A call that no event has announced yet."""

    call_id: str = ""
    name: str = ""
    fragments: list[str] = field(default_factory=list)

    def add(self, delta: CallDelta) -> None:
        """Add a delta. Names may arrive in pieces, ids arrive whole."""
        self.call_id = self.call_id or delta.call_id
        self.name += delta.name
        if delta.arguments:
            self.fragments.append(delta.arguments)

    @property
    def arguments(self) -> str:
        return "".join(self.fragments)

    @property
    def has_complete_name(self) -> bool:
        """True once arguments follow the name: a name may arrive in pieces, but not after them."""
        return bool(self.call_id and self.name and self.fragments)

    @property
    def is_empty(self) -> bool:
        return not (self.name or self.fragments)
