"""The LoRA adapters that a worker serves beside its model, each under a name of its own."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_NAME = re.compile(r"[A-Za-z0-9._:/-]{1,200}")
_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # what vLLM reserves room for
MOST_IN_A_BATCH = 8


class AdapterError(ValueError):
    """An adapter that can't be served; the text names it and the remedy."""


@dataclass(frozen=True, slots=True)
class AdapterSource:
    """The name that requests use, ``ft:…`` by custom, and the folder that peft saved."""

    name: str
    folder: Path


def adapter_sources(text: str) -> tuple[AdapterSource, ...]:
    """``name=folder,name=folder``. Raises AdapterError."""
    found = []
    for entry in filter(None, (piece.strip() for piece in text.split(","))):
        name, equals, folder = entry.partition("=")
        if not (equals and folder and _NAME.fullmatch(name)):
            raise AdapterError("expected name=folder, several separated by commas")
        found.append(AdapterSource(name, Path(folder)))
    if len({source.name for source in found}) != len(found):
        raise AdapterError("two adapters have the same name")
    return tuple(found)


def adapter_arguments(sources: Sequence[AdapterSource]) -> list[str]:
    """vLLM's arguments for these adapters; none for none. Raises AdapterError."""
    if not sources:
        return []
    rank = max(map(_rank, sources))
    room = next((known for known in _RANKS if known >= rank), None)
    if room is None:
        raise AdapterError(f"an adapter has rank {rank}; {_RANKS[-1]} is the highest that can be served")
    return [
        "--enable-lora",
        *("--max-lora-rank", str(room)),
        *("--max-loras", str(min(len(sources), MOST_IN_A_BATCH))),
        *("--max-cpu-loras", str(len(sources))),
        *("--lora-modules", *(f"{source.name}={source.folder}" for source in sources)),
    ]


def _rank(source: AdapterSource) -> int:
    file = source.folder / "adapter_config.json"
    try:
        rank = json.loads(file.read_text())["r"]
    except (OSError, ValueError, KeyError, TypeError):
        raise AdapterError(
            f"adapter {source.name}: {file} can't be read (CYLLM_WORKER_ADAPTERS names folders saved by peft)"
        ) from None
    if not isinstance(rank, int) or rank < 1:
        raise AdapterError(f"adapter {source.name}: its rank in {file} is no positive number")
    return rank
