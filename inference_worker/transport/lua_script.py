"""Lua scripts that Redis runs by their digest, once it has their text."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha1

NO_SCRIPT = "NOSCRIPT"  # begins the reply to EVALSHA if Redis doesn't have the script


@dataclass(frozen=True, slots=True)
class LuaScript:
    """A Lua script. ``digest``: its key in Redis's script cache, for EVALSHA."""

    text: str
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", sha1(self.text.encode(), usedforsecurity=False).hexdigest())
