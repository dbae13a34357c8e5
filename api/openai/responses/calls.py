"""Tool calls in a chat stream: their deltas, held back until it is known which function is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class CallDelta:
    """One element of a delta's ``tool_calls``; what is not in it is empty."""

    position: int
    call_id: str
    name: str
    arguments: str


def call_deltas(given: Sequence[Mapping[str, Any]]) -> list[CallDelta]:
    """The deltas in a chunk; elements without an index have that of their place."""
    deltas = []
    for place, call in enumerate(given):
        index, function = call.get("index"), call.get("function") or {}
        deltas.append(
            CallDelta(
                position=place if index is None else index,
                call_id=call.get("id") or "",
                name=function.get("name") or "",
                arguments=function.get("arguments") or "",
            )
        )
    return deltas


@dataclass(slots=True)
class PendingCall:
    """A call that was not announced yet."""

    call_id: str = ""
    name: str = ""
    fragments: list[str] = field(default_factory=list)

    def add(self, delta: CallDelta) -> None:
        """Take in a delta: names may come in pieces, ids come whole."""
        self.call_id = self.call_id or delta.call_id
        self.name += delta.name
        if delta.arguments:
            self.fragments.append(delta.arguments)

    @property
    def arguments(self) -> str:
        return "".join(self.fragments)

    @property
    def is_known(self) -> bool:
        """Whether its name is complete, which its first arguments show."""
        return bool(self.call_id and self.name and self.fragments)

    @property
    def is_empty(self) -> bool:
        return not (self.name or self.fragments)
