"""LoRA adapters that a worker serves along with its model, each under its own name."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_NAME = re.compile(r"[A-Za-z0-9._:/-]{1,200}")
_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # vLLM's options for --max-lora-rank
MAX_PER_BATCH = 8


class AdapterError(ValueError):
    """An adapter can't be served. The text names it and the remedy."""


@dataclass(frozen=True, slots=True)
class AdapterSource:
    """The name that requests use, by convention ``ft:…``, and the folder that peft saved."""

    name: str
    folder: Path


def adapter_sources(text: str) -> tuple[AdapterSource, ...]:
    """Parse ``name=folder,name=folder``. Raises AdapterError."""
    sources = []
    for entry in filter(None, (piece.strip() for piece in text.split(","))):
        name, equals, folder = entry.partition("=")
        if not (equals and folder and _NAME.fullmatch(name)):
            raise AdapterError("expected name=folder, separated by commas")
        sources.append(AdapterSource(name, Path(folder)))
    if len({source.name for source in sources}) != len(sources):
        raise AdapterError("two adapters have the same name")
    return tuple(sources)


def highest_rank(sources: Sequence[AdapterSource]) -> int:
    """Return the highest rank of these adapters, 1 if there are none. Raises AdapterError."""
    return max(map(_rank, sources), default=1)


def rank_option(rank: int) -> int:
    """Return vLLM's lowest option for adapters of this rank. Raises AdapterError."""
    option = next((option for option in _RANKS if option >= rank), None)
    if option is None:
        raise AdapterError(f"an adapter has rank {rank}; the maximum is {_RANKS[-1]}")
    return option


def _rank(source: AdapterSource) -> int:
    file = source.folder / "adapter_config.json"
    try:
        rank = json.loads(file.read_text())["r"]
    except (OSError, ValueError, KeyError, TypeError):
        raise AdapterError(
            f"adapter {source.name}: can't read {file} (CYLLM_WORKER_ADAPTERS names folders saved by peft)"
        ) from None
    if not isinstance(rank, int) or rank < 1:
        raise AdapterError(f"adapter {source.name}: its rank in {file} is not a positive number")
    return rank
